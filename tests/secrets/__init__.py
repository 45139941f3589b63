"""No secret comes out: canaries in every secret, a search through all that the product shows or leaves behind."""

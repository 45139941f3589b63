"""Where refresh tokens are remembered, so that a grant outlives its access token; on disk, the process, too."""

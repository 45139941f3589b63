"""The life of a token: what state it is in, who renews it, who waits for it.

`lifecycle` decides (pure; `lease` and `pace` are its arithmetic), `keeper` acts, `issuer` makes the token requests of
one renewal, `store` remembers refresh tokens.
"""

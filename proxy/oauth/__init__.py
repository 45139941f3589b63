"""What the RFCs say, data in and data out: no socket, no clock, no state.

`request` builds what is posted to a token endpoint, `response` reads what comes back, `path` finds a field in it,
`expiry` makes sense of lifetimes, `failure` names what can go wrong.
"""

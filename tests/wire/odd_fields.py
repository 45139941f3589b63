"""Fields about the length of a message that are right, doubtful or wrong, in requests and responses alike."""

PLAIN_LENGTHS = [b"0", b"1", b"17", b"999999999999999999"]
OTHER_LENGTHS = [
    b"", b"-1", b"+1", b"00", b"01", b"0x1", b"1 2", b"1,1", b"1.0", b"1e1", b"1_0", b"1" * 19, b"\xb2", b"a", b"1;a",
]  # fmt: skip
# Said twice, or in two ways.
TWO_WORDS = [
    (b"Content-Length: 1", b"Content-Length: 1"),
    (b"Content-Length: 0", b"Content-Length: 0"),
    (b"Content-Length: 1", b"content-length: 2"),
    (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    (b"Content-Length: 1", b"Transfer-Encoding: chunked"),
    (b"Content-Length: 0", b"Transfer-Encoding: chunked"),
    (b"Transfer-Encoding: chunked", b"Content-Length: 1"),
]
# Lines that a parser before ours might let pass, as they are handed to us.
LET_PASS = [
    *([b"\n" + line for line in lines] for lines in TWO_WORDS),
    [b"\nTransfer-Encoding: chunked;a=b"],
    [b"\nTransfer-Encoding: x y"],
    [b"\nTransfer-Encoding:"],
    [b"\nContent-Length: +5"],
]

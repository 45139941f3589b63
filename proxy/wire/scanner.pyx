# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, binding=False
"""Heads scanned by compiled code: a plain good one is taken apart here, all else is left to `request` and `response`.

Built by `make accelerate`, chosen by `heads`. What it accepts, the pure modules accept, with an equal head: whatever is
in any doubt here is handed to them, so that what is refused, and in which words, is decided in one place. It has no
refusal of its own.

Why no index can leave the head: a `bytes` object ends with a NUL that is not part of it, and no class of characters
below has NUL in it. Each loop goes on by one byte only behind a byte of such a class, so it stands still at that NUL at
the latest; a byte is compared with the next one only where the one before it matched. `_Lines` counts before it keeps.
The directives above would check indices of Python's sequences, of which there are none; C's pointers have no check.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from libc.string cimport memcmp, memcpy

import re

from proxy.wire.names import TOKEN
from proxy.wire.request import KNOWN_METHODS, MEMO_KEY_MAX, START_LINE, RequestHead
from proxy.wire.request import MEMO as MEMO_OF_REQUESTS
from proxy.wire.request import fields_of as fields_of_request
from proxy.wire.request import parse_request as _pure_request
from proxy.wire.response import MEMO as MEMO_OF_RESPONSES
from proxy.wire.response import ResponseHead
from proxy.wire.response import fields_of as fields_of_response
from proxy.wire.response import parse_response as _pure_response

ctypedef const unsigned char* Bytes

cdef enum:
    _NAME = 1     # may stand in a method or in the name of a field
    _TARGET = 2   # in a target
    _VALUE = 4    # in the value of a field, or behind a status
    _PLAIN = 8    # in the name of a plain host, with its port
    _MOST = 64    # lines that matter in one head; nobody sends as many

# What a byte may be. Filled from the patterns of the pure modules, so that the grammar is written once.
cdef unsigned char _classes[256]
cdef unsigned char _lower[256]


cdef int _fill() except -1:
    cdef int byte
    value = re.compile(rb"[\t -~\x80-\xff]")
    plain = re.compile(rb"[0-9A-Za-z.:-]")
    for byte in range(256):
        one = bytes((byte,))
        _lower[byte] = one.lower()[0]
        _classes[byte] = 0
        if byte == 0:
            continue
        if TOKEN.fullmatch(one) is not None:
            _classes[byte] |= _NAME
        if START_LINE.fullmatch(b"GET %b HTTP/1.1\r\n" % one) is not None:
            _classes[byte] |= _TARGET
        if value.fullmatch(one) is not None:
            _classes[byte] |= _VALUE
        if plain.fullmatch(one) is not None:
            _classes[byte] |= _PLAIN
    return 0


_fill()


cdef struct _Lines:
    # The lines that matter, each from its LF to before its CR, and how many bytes they have together.
    Bytes at[_MOST]
    Py_ssize_t size[_MOST]
    Py_ssize_t number
    Py_ssize_t total
    # Something that llhttp has an opinion about, too: only a set of lines that it has seen before is taken here.
    bint delicate


cdef struct _Limits:
    Py_ssize_t size
    Py_ssize_t line
    Py_ssize_t fields
    Py_ssize_t target


# The limits that were used last, taken apart: a process has one or two of them, and they never change.
cdef object _limits_of_requests = None
cdef object _limits_of_responses = None
cdef _Limits _for_requests
cdef _Limits _for_responses


cdef int _take_apart(object limits, _Limits* into) except -1:
    into.size = limits.size
    into.line = limits.line
    into.fields = limits.fields
    into.target = limits.target
    return 0


cdef inline bint _is(Bytes name, const char* word, Py_ssize_t size) noexcept nogil:
    """Whether `size` bytes are this word in small letters; `-` in it stands for itself."""
    cdef Py_ssize_t i
    for i in range(size):
        if _lower[name[i]] != <unsigned char>word[i]:
            return False
    return True


cdef inline bint _dash(unsigned char byte) noexcept nogil:
    return byte == c"-" or byte == c"_"


cdef inline bint _letters(Bytes name, Py_ssize_t size, const char* others) noexcept nogil:
    """Whether there is something, all of it letters or one of two other characters."""
    cdef Py_ssize_t i
    cdef unsigned char byte
    for i in range(size):
        byte = _lower[name[i]]
        if not c"a" <= byte <= c"z" and byte != <unsigned char>others[0] and byte != <unsigned char>others[1]:
            return False
    return size > 0


cdef enum:
    _NOTHING = 0       # relayed as it came
    _SOMETHING = 1     # a line that matters
    _HOST = 2
    _LENGTH = 3
    _CODING = 4
    _CONNECTION = 5
    _UPGRADE = 6


cdef int _request_field(Bytes name, Py_ssize_t size) noexcept nogil:
    """What a request's field is to a proxy: `names.REQUEST_FIELDS`, a letter at a time."""
    cdef unsigned char first = _lower[name[0]]
    if first == c"c":
        if size == 10 and _is(name, b"connection", 10):
            return _CONNECTION
        if size == 14 and _is(name, b"content", 7) and _dash(name[7]) and _is(name + 8, b"length", 6):
            return _LENGTH
    elif first == c"h":
        if size == 4 and _is(name, b"host", 4):
            return _HOST
        if size == 14 and _is(name, b"http2", 5) and _dash(name[5]) and _is(name + 6, b"settings", 8):
            return _SOMETHING
    elif first == c"t":
        if size == 17 and _is(name, b"transfer", 8) and _dash(name[8]) and _is(name + 9, b"encoding", 8):
            return _CODING
        if (size == 2 and _is(name, b"te", 2)) or (size == 7 and _is(name, b"trailer", 7)):
            return _SOMETHING
    elif first == c"a":
        if size >= 13 and _is(name, b"authorization", 13):
            for i in range(13, size):
                if name[i] != c"_":
                    return _NOTHING
            return _SOMETHING
    elif first == c"o":
        return _SOMETHING if size == 6 and _is(name, b"origin", 6) else _NOTHING
    elif first == c"s":
        if size > 10 and _is(name, b"sec-fetch-", 10) and _letters(name + 10, size - 10, b"aa"):
            return _SOMETHING
    elif first == c"u":
        return _UPGRADE if size == 7 and _is(name, b"upgrade", 7) else _NOTHING
    elif first == c"v":
        return _SOMETHING if size == 3 and _is(name, b"via", 3) else _NOTHING
    elif first == c"e":
        return _SOMETHING if size == 6 and _is(name, b"expect", 6) else _NOTHING
    elif first == c"k":
        if size == 10 and _is(name, b"keep", 4) and _dash(name[4]) and _is(name + 5, b"alive", 5):
            return _SOMETHING
    elif first == c"m":
        return _SOMETHING if size == 12 and _is(name, b"max-forwards", 12) else _NOTHING
    elif first == c"p":
        if size > 6 and _is(name, b"proxy", 5) and _dash(name[5]) and _letters(name + 6, size - 6, b"-_"):
            return _UPGRADE  # Proxy-Connection among them, which llhttp reads
    return _NOTHING


cdef int _response_field(Bytes name, Py_ssize_t size) noexcept nogil:
    """What a response's field is to a proxy: `names.RESPONSE_FIELDS`, a letter at a time."""
    cdef unsigned char first = _lower[name[0]]
    if first == c"c":
        if size == 10 and _is(name, b"connection", 10):
            return _CONNECTION
        if size == 14 and _is(name, b"content-length", 14):
            return _LENGTH
        if size == 16 and _is(name, b"content-location", 16):
            return _SOMETHING
    elif first == c"t":
        if size == 17 and _is(name, b"transfer-encoding", 17):
            return _CODING
        if (size == 2 and _is(name, b"te", 2)) or (size == 7 and _is(name, b"trailer", 7)):
            return _SOMETHING
    elif first == c"k":
        return _SOMETHING if size == 10 and _is(name, b"keep-alive", 10) else _NOTHING
    elif first == c"l":
        return _SOMETHING if size == 8 and _is(name, b"location", 8) else _NOTHING
    elif first == c"w":
        return _SOMETHING if size == 16 and _is(name, b"www-authenticate", 16) else _NOTHING
    elif first == c"u":
        return _UPGRADE if size == 7 and _is(name, b"upgrade", 7) else _NOTHING
    elif first == c"p":
        if size > 6 and _is(name, b"proxy-", 6) and _letters(name + 6, size - 6, b"--"):
            return _UPGRADE
    return _NOTHING


cdef inline bint _plain_length(Bytes value, Bytes end) noexcept nogil:
    """Whether a Content-Length is a space and a number of one to eighteen digits, none of them too many."""
    cdef Py_ssize_t size = end - value - 1
    cdef Py_ssize_t i
    if size < 1 or size > 18 or value[0] != c" " or (value[1] == c"0" and size > 1):
        return False
    for i in range(1, size + 1):
        if not c"0" <= value[i] <= c"9":
            return False
    return True


cdef inline bint _plain_connection(Bytes value, Bytes end) noexcept nogil:
    """Whether a Connection is one of the two words that nearly all are, as they write them."""
    if end - value == 11:
        return value[0] == c" " and _is(value + 1, b"keep-alive", 10)
    return end - value == 6 and value[0] == c" " and _is(value + 1, b"close", 5)


cdef Py_ssize_t _scan_fields(
    Bytes start, Bytes at, bint of_request, _Limits* limits, _Lines* lines, unsigned int* seen
) noexcept nogil:
    """Take the field lines apart from `at` on; return how far the CR of the empty line is from `start`, or -1.

    -1 is any doubt: a character, a limit, a head without its end. `seen` gets a bit for each kind of line.
    """
    cdef Py_ssize_t number = 0
    cdef Bytes name
    cdef Bytes colon
    cdef int kind
    lines.number = 0
    lines.total = 0
    lines.delicate = False
    seen[0] = 0
    while at[0] != c"\r":
        name = at
        while _classes[at[0]] & _NAME:
            at += 1
        if at == name or at[0] != c":":
            return -1
        colon = at
        at += 1
        while _classes[at[0]] & _VALUE:
            at += 1
        if at[0] != c"\r" or at[1] != c"\n" or at - name > limits.line:
            return -1
        number += 1
        kind = _request_field(name, colon - name) if of_request else _response_field(name, colon - name)
        if kind != _NOTHING:
            if lines.number == _MOST:
                return -1
            lines.at[lines.number] = name - 1
            lines.size[lines.number] = at - name + 1
            lines.number += 1
            lines.total += at - name + 1
            if kind == _LENGTH:
                if seen[0] & (1 << _LENGTH) or (colon - 7)[0] != c"-" or not _plain_length(colon + 1, at):
                    lines.delicate = True
            elif kind == _CONNECTION:
                if not _plain_connection(colon + 1, at):
                    lines.delicate = True
            elif kind == _CODING or kind == _UPGRADE:
                lines.delicate = True
            seen[0] |= 1 << kind
        at += 2
    if at[1] != c"\n" or number > limits.fields or at - 2 - start > limits.size:
        return -1
    return at - start


cdef bytes _joined(_Lines* lines):
    """The lines that matter as one key: what `b"".join` makes of what `names` finds."""
    cdef bytes key = PyBytes_FromStringAndSize(NULL, lines.total)
    cdef char* to = PyBytes_AS_STRING(key)
    cdef Py_ssize_t i
    for i in range(lines.number):
        memcpy(to, lines.at[i], lines.size[i])
        to += lines.size[i]
    return key


cdef list _listed(_Lines* lines):
    cdef list found = []
    cdef Py_ssize_t i
    for i in range(lines.number):
        found.append(PyBytes_FromStringAndSize(<const char*>lines.at[i], lines.size[i]))
    return found


cdef object _fields(_Lines* lines, dict known, object made_of):
    """What these lines come to, or None where only the pure module may say so for the first time."""
    cdef PyObject* found
    if lines.total <= _key_max:
        found = PyDict_GetItem(known, _joined(lines))
        if found is not NULL:
            return <object>found
    return None if lines.delicate else made_of(_listed(lines))


cdef bytes _GET = b"GET"
cdef bytes _POST = b"POST"
cdef dict _known_requests = MEMO_OF_REQUESTS
cdef dict _known_responses = MEMO_OF_RESPONSES
cdef Py_ssize_t _key_max = MEMO_KEY_MAX


def parse_request(bytes buffer not None, object limits, Py_ssize_t searched=0):
    """As `request.parse_request`."""
    head = _request_head(buffer, limits, searched)
    return _pure_request(buffer, limits, searched) if head is None else head


def scan_request(bytes buffer not None, object limits, Py_ssize_t searched=0):
    """The head alone, or None where this module leaves it to `request`."""
    return _request_head(buffer, limits, searched)


cdef object _request_head(bytes buffer, object limits, Py_ssize_t searched):
    """Return the head, or None where anything is in doubt."""
    global _limits_of_requests
    if limits is not _limits_of_requests:
        _limits_of_requests = None  # nothing, should one of them be missing
        _take_apart(limits, &_for_requests)
        _limits_of_requests = limits
    cdef Bytes start = <Bytes>PyBytes_AS_STRING(buffer)
    cdef Bytes at = start
    cdef Bytes target_at
    cdef _Lines lines
    cdef unsigned int seen
    cdef Py_ssize_t end, method_size, target_size, lines_at
    cdef int version
    cdef bytes method
    if searched > 3 and buffer.find(b"\r\n\r\n", searched - 3) < 0:
        return None
    while _classes[at[0]] & _NAME:
        at += 1
    method_size = at - start
    if method_size == 0 or at[0] != c" ":
        return None
    if method_size == 3 and memcmp(start, b"GET", 3) == 0:
        method = _GET
    elif method_size == 4 and memcmp(start, b"POST", 4) == 0:
        method = _POST
    else:
        method = PyBytes_FromStringAndSize(<const char*>start, method_size)
        if method not in KNOWN_METHODS or method_size == 7 and memcmp(start, b"CONNECT", 7) == 0:
            return None
    at += 1
    target_at = at
    # Of all targets llhttp reads, too, two forms are beyond doubt: a path, and the URL of a plain host.
    if at[0] != c"/":
        if not _begins(at, b"http://"):
            return None
        at += 7
        if not _classes[at[0]] & _PLAIN:
            return None
        while _classes[at[0]] & _PLAIN:
            at += 1
        if at[0] != c"/" and at[0] != c"?" and at[0] != c" ":
            return None
    while _classes[at[0]] & _TARGET:
        at += 1
    target_size = at - target_at
    if target_size == 0 or target_size > _for_requests.target:
        return None
    # The comparison stops at the first byte that differs, so at the NUL behind the buffer at the latest.
    if not _begins(at, b" HTTP/1."):
        return None
    at += 8
    if at[0] == c"1":
        version = 1
    elif at[0] == c"0":
        version = 0
    else:
        return None
    if at[1] != c"\r" or at[2] != c"\n":
        return None
    lines_at = at + 1 - start
    end = _scan_fields(start, at + 3, True, &_for_requests, &lines, &seen)
    if end < 0 or (searched > 3 and end - 2 < searched - 3):
        return None
    if (version == 1 and not seen & (1 << _HOST)) or (version == 0 and seen & (1 << _CODING)):
        return None
    fields = _fields(&lines, _known_requests, fields_of_request)
    if fields is None:
        return None
    return RequestHead(
        method,
        PyBytes_FromStringAndSize(<const char*>target_at, target_size),
        version,
        PyBytes_FromStringAndSize(<const char*>start + lines_at, end - lines_at),
        fields,
        end + 2,
    )


cdef inline bint _begins(Bytes at, const char* word) noexcept nogil:
    """Whether the bytes from `at` on begin with `word`; looks no further than the first that differs."""
    while word[0] != 0:
        if at[0] != <unsigned char>word[0]:
            return False
        at += 1
        word += 1
    return True


def parse_response(bytes buffer not None, object limits, Py_ssize_t searched=0):
    """As `response.parse_response`."""
    head = _response_head(buffer, limits, searched)
    return _pure_response(buffer, limits, searched) if head is None else head


def scan_response(bytes buffer not None, object limits, Py_ssize_t searched=0):
    """The head alone, or None where this module leaves it to `response`."""
    return _response_head(buffer, limits, searched)


cdef object _response_head(bytes buffer, object limits, Py_ssize_t searched):
    """Return the head, or None where anything is in doubt."""
    global _limits_of_responses
    if limits is not _limits_of_responses:
        _limits_of_responses = None  # nothing, should one of them be missing
        _take_apart(limits, &_for_responses)
        _limits_of_responses = limits
    cdef Bytes start = <Bytes>PyBytes_AS_STRING(buffer)
    cdef Bytes at = start
    cdef _Lines lines
    cdef unsigned int seen
    cdef Py_ssize_t end, lines_at
    cdef int version, status
    if searched > 3 and buffer.find(b"\r\n\r\n", searched - 3) < 0:
        return None
    if not _begins(at, b"HTTP/1."):
        return None
    at += 7
    if at[0] == c"1":
        version = 1
    elif at[0] == c"0":
        version = 0
    else:
        return None
    if at[1] != c" " or not c"1" <= at[2] <= c"9" or not c"0" <= at[3] <= c"9" or not c"0" <= at[4] <= c"9":
        return None
    status = (at[2] - c"0") * 100 + (at[3] - c"0") * 10 + at[4] - c"0"
    if status == 101:
        return None
    at += 5
    if at[0] == c" ":
        while _classes[at[0]] & _VALUE:
            at += 1
    if at[0] != c"\r" or at[1] != c"\n":
        return None
    lines_at = at - start
    end = _scan_fields(start, at + 2, False, &_for_responses, &lines, &seen)
    if end < 0 or (searched > 3 and end - 2 < searched - 3):
        return None
    if version == 0 and seen & (1 << _CODING):
        return None
    fields = _fields(&lines, _known_responses, fields_of_response)
    if fields is None:
        return None
    raw = buffer if end + 2 == PyBytes_GET_SIZE(buffer) else PyBytes_FromStringAndSize(<const char*>start, end + 2)
    return ResponseHead(status, version, raw, lines_at, fields)

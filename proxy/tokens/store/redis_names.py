"""What lies in Redis under which names, and the scripts that change it in one step. Pure.

A hash for each connection (`version`, `mark`, `record`, `previous`), a key that is there while somebody has the turn,
one channel for all. Every name is made of parts behind their lengths: no two namespaces or connections meet in one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

_VERSION: Final = re.compile(rb"[1-9]\d{0,14}")  # a number that Lua holds exactly

# What is kept, and what time it is for all who share it. What nobody of ours wrote there, since it is no hash or larger
# than any record, is a record that does not open: it must not pass for a server that is away.
LOAD: Final = """
local now = redis.call('TIME')
local kept = redis.pcall('HMGET', KEYS[1], 'version', 'record', 'previous')
if kept.err then
  if string.sub(kept.err, 1, 9) ~= 'WRONGTYPE' then return kept end
  kept = {false, '', false}
end
for number = 2, 3 do
  if kept[number] and #kept[number] > 16777216 then kept[number] = '' end
end
return {now[1], now[2], kept[1], kept[2], kept[3]}
"""
# The version alone, false where there is none.
VERSION: Final = """
local version = redis.pcall('HGET', KEYS[1], 'version')
if type(version) == 'table' and string.sub(version.err, 1, 9) == 'WRONGTYPE' then return false end
return version
"""
# Keep a record if it is newer than what there is; what cannot stand for it any more is put aside. One that says that a
# refresh token is about to be used has to follow what there is at once: a server that lost something may have lost its
# successor. Returns 0 if it is not kept, else one more than the version that it follows.
SAVE: Final = """
local kept = redis.pcall('HMGET', KEYS[1], 'version', 'mark', 'record')
if kept.err then
  if string.sub(kept.err, 1, 9) ~= 'WRONGTYPE' then return kept end
  redis.call('DEL', KEYS[1])
  kept = {}
end
local version = kept[1]
if not (version and #version <= 15 and string.match(version, '^[1-9]%d*$')) then version = '0' end
if tonumber(version) >= tonumber(ARGV[1]) then return 0 end
if ARGV[7] == '1' and tonumber(version) ~= tonumber(ARGV[1]) - 1 then return 0 end
if kept[3] and (kept[2] ~= ARGV[2] or ARGV[4] == '1') then redis.call('HSET', KEYS[1], 'previous', kept[3]) end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'mark', ARGV[2], 'record', ARGV[3])
if ARGV[5] ~= '' then redis.pcall('PUBLISH', ARGV[5], ARGV[6]) end
return tonumber(version) + 1
"""
# The turn belongs to whoever has the nonce: only he prolongs it or gives it back.
PROLONG: Final = """
if redis.pcall('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
GIVE_BACK: Final = """
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.pcall('PUBLISH', ARGV[2], ARGV[3])
return 1
"""
# A server that answers but takes no writes is of no use.
PROBE: Final = "redis.call('SET', KEYS[1], '1', 'PX', 1000) return 1"

SAVED, FREE = "saved", "free"


def name_of(*parts: str) -> str:
    """Return the name that these parts have, and no others."""
    return "iclient-proxy:" + "".join(f"{len(part)}:{part}," for part in parts)


def mark_of(fingerprint: str) -> str:
    """Return by what a record is known to be of another grant, without telling what the fingerprint is made of."""
    return sha256(b"mark\0" + fingerprint.encode()).hexdigest()[:16]


def version_of(written: bytes | None) -> int:
    """Return the version of a hash, 0 where there is none or nobody of ours wrote it."""
    return int(written) if written is not None and _VERSION.fullmatch(written) else 0


@dataclass(frozen=True, slots=True)
class Message:
    """What is published: `sender` is a process, `kind` is SAVED or FREE (the turn), `name` is the connection."""

    sender: str
    kind: str
    name: str

    def text(self) -> str:
        """Return it as it is sent."""
        return f"{self.sender} {self.kind} {self.name}"


def message_of(data: bytes) -> Message | None:
    """Return what was published; None where nobody of ours did."""
    parts = data.decode("utf-8", "replace").split(" ", 2)
    return Message(*parts) if len(parts) == 3 else None

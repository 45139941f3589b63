"""An ordinary Python application: GET URL/first, then POST a file to URL/second, by one of four libraries."""

import sys
from pathlib import Path

LIBRARY, URL, FILE = sys.argv[1:]
CONTENT = Path(FILE).read_bytes()


def by_requests():
    import requests

    with requests.Session() as session:
        for answer in (session.get(f"{URL}/first"), session.post(f"{URL}/second", data=CONTENT)):
            yield answer.status_code, answer.text


def by_httpx():
    import httpx

    with httpx.Client() as client:
        for answer in (client.get(f"{URL}/first"), client.post(f"{URL}/second", content=CONTENT)):
            yield answer.status_code, answer.text


def by_urllib():
    import urllib.request

    for asked in (f"{URL}/first", urllib.request.Request(f"{URL}/second", CONTENT)):
        with urllib.request.urlopen(asked) as answer:
            yield answer.status, answer.read().decode()


def by_aiohttp():
    import asyncio

    import aiohttp

    async def ask():
        async with aiohttp.ClientSession(trust_env=True) as session:
            for asked in (session.get(f"{URL}/first"), session.post(f"{URL}/second", data=CONTENT)):
                async with asked as answer:
                    yield answer.status, await answer.text()

    async def all_of_it():
        return [each async for each in ask()]

    yield from asyncio.run(all_of_it())


for status, text in globals()[f"by_{LIBRARY}"]():
    sys.stdout.write(f"{status} {text}\n")

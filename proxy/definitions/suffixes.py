"""Names under which strangers register theirs: a valid domain as wide as one of these would cover anybody."""

from __future__ import annotations

from typing import Final

# Second-level registries by country. Not the whole public suffix list: that is 200 KiB and changes weekly; an entry
# that is missing here costs an operator's own mistake its warning, nothing else.
_REGISTRIES: Final = """
    ae: ac co gov mil net org sch
    ar: com edu gob gov int mil net org
    at: ac co gv or
    au: asn com edu gov id net org
    bd: ac com edu gov net org
    br: adv art blog com eco edu eng gov ind inf jus leg med mil net org
    cn: ac com edu gov mil net org
    co: com edu gov mil net nom org
    cr: ac co ed fi go or sa
    cy: ac com gov ltd net org
    ec: com edu fin gob gov info med net org
    eg: com edu gov net org sci
    es: com edu gob nom org
    fj: ac com gov info net org
    fr: asso com gouv nom
    gh: com edu gov org
    gr: com edu gov net org
    gt: com edu gob ind net org
    hk: com edu gov idv net org
    hu: co info org
    id: ac co desa go mil net or sch web
    il: ac co gov idf k12 muni net org
    im: ac co com net org
    in: ac co edu firm gen gov ind mil net nic org res
    ir: ac co gov id net org sch
    is: com edu gov net org
    it: edu gov
    jm: com edu gov net org
    jp: ac ad co ed go gr lg ne or
    ke: ac co go info me mobi ne or sc
    kh: com edu gov net org
    kr: ac co es go hs kg mil ms ne or pe re sc
    kw: com edu emb gov net org
    lb: com edu gov net org
    lk: ac com edu gov int ltd net org sch
    ma: ac co gov net org press
    mt: com edu net org
    mx: com edu gob net org
    my: com edu gov mil name net org
    mz: ac co edu gov net org
    ng: com edu gov mil mobi name net org sch
    ni: ac co com edu gob net org
    np: com edu gov net org
    nz: ac co cri geek gen govt health iwi maori mil net org parliament school
    om: co com edu gov med net org pro
    pa: ac com edu gob net org
    pe: com edu gob mil net nom org
    ph: com edu gov mil net ngo org
    pk: biz com edu fam gob gov info net org web
    pl: com edu gov info net org
    pr: com edu gov net org
    pt: com edu gov int net nome org
    py: com coop edu gov net org
    qa: com edu gov mil name net org sch
    ro: com firm info nom org
    rs: ac co edu gov in org
    ru: ac com edu gov int mil msk net org pp spb
    sa: com edu gov med net org pub sch
    sg: com edu gov net org per
    sv: com edu gob org
    th: ac co go in mi net or
    tr: av bel bbs biz com dr edu gen gov info k12 kep mil name net org pol tel tv web
    tt: biz co com edu gov info name net org
    tw: club com ebiz edu game gov idv mil net org
    tz: ac co go info me mil ne or sc
    ua: co com edu gov in kiev lviv net odessa org pp
    ug: ac co com go ne or org sc
    uk: ac co gov ltd me net nhs org plc police sch
    uy: com edu gub mil net org
    uz: co com net org
    ve: co com edu gob info net org web
    vn: ac com edu gov health info int name net org pro
    za: ac co edu gov law mil net nom org school web
    zm: ac co com edu gov net org sch
    zw: ac co gov mil org
"""

# Hosting platforms whose customers get a name right below.
_PLATFORMS: Final = """
    amplifyapp.com appspot.com azureedge.net azure-api.net azurewebsites.net cloudapp.net cloudfront.net fly.dev
    firebaseapp.com github.io githubusercontent.com gitlab.io herokuapp.com myshopify.com netlify.app ngrok.app
    ngrok.io ngrok-free.app onrender.com pages.dev run.app trafficmanager.net up.railway.app vercel.app web.app
    workers.dev blob.core.windows.net
"""


def _pairs() -> frozenset[str]:
    pairs = set(_PLATFORMS.split())
    for line in _REGISTRIES.strip().splitlines():
        country, labels = line.split(":")
        pairs.update(f"{label}.{country.strip()}" for label in labels.split())
    return frozenset(pairs)


PUBLIC_SUFFIXES: Final = _pairs()


def registrable(host: str) -> str:
    """Return the domain that somebody registered and that the host lies in: `api.acme.co.uk` lies in `acme.co.uk`.

    An address, a single label and a name under which others register theirs are only themselves.
    """
    labels = host.split(".")
    if ":" in host or labels[-1].isdecimal() or len(labels) < 3:
        return host
    for first in range(len(labels)):
        if ".".join(labels[first:]) in PUBLIC_SUFFIXES:
            return ".".join(labels[max(0, first - 1) :])
    return ".".join(labels[-2:])

"""`/ca.pem`: what clients of interception are to trust."""

from cryptography import x509

from tests.support.interception import LocalAuthority


async def test_without_interception_there_is_nothing_to_trust(admin):
    await admin.start()

    assert (await admin.ask(b"/ca.pem")).code == "no_route"


async def test_the_certificate_is_behind_the_guard_and_bears_its_media_type(admin):
    await admin.start()
    authority = LocalAuthority("acme.example")
    admin.running.trusted = authority.certificate

    good = await admin.ask(b"/ca.pem")

    assert (good.status, good.body.decode()) == (200, authority.certificate)
    assert x509.load_pem_x509_certificate(good.body)
    assert good.values(b"content-type") == [b"application/x-pem-file"]
    assert (await admin.ask(b"/ca.pem", host=b"attacker.example")).code == "misdirected_request"
    assert (await admin.ask(b"/ca.pem", method=b"POST")).code == "method_not_allowed"

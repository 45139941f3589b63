import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID


class Authority:
    """A certificate authority that also issues what no authority should."""

    def __init__(self):
        self.ca = trustme.CA()
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd authority")])
        self.odd = self._built(name, name, self.key, [], hashes.SHA256(), ca=True)

    def _built(self, subject, issuer, key, names, digest, *, ca=False):
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, digest)

    @property
    def pem(self):
        """What a client trusts."""
        return self.ca.cert_pem.bytes().decode() + self.odd.public_bytes(serialization.Encoding.PEM).decode()

    def server(self, *names, **how):
        """Return the context of a server with a certificate for `names`."""
        return self._context(self.ca.issue_cert(*names, **how))

    def stranger(self, name):
        """Return the context of a server whose authority nobody trusts."""
        return self._context(trustme.CA().issue_cert(name))

    def _context(self, certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context

    def crafted(self, names, folder, *, digest="SHA-256"):
        """Return the context of a server with a certificate that only a careless authority would sign."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "crafted")])
        certificate = self._built(subject, self.odd.subject, key, names, hashes.SHA256())
        encoded = certificate.public_bytes(serialization.Encoding.DER)
        if digest == "SHA-1":
            encoded = self._signed_by_sha1(certificate)
        path = folder / "crafted.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + ssl.DER_cert_to_PEM_cert(encoded).encode()
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.load_cert_chain(path)
        return context

    def _signed_by_sha1(self, certificate):
        # No library of today signs so; the identifiers of the two signatures differ in their last byte only.
        sha256, sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
        signed = certificate.tbs_certificate_bytes.replace(sha256, sha1)
        signature = self.key.sign(signed, padding.PKCS1v15(), hashes.SHA1())
        encoded = certificate.public_bytes(serialization.Encoding.DER).replace(sha256, sha1)
        return encoded.replace(certificate.signature, signature)


@pytest.fixture(scope="session")
def authority():
    return Authority()


@pytest.fixture
async def black_hole():
    """Yield the port of a listener whose queue is full: it answers no SYN any more."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        callers = []
        while True:
            caller = socket.socket()
            caller.setblocking(False)
            callers.append(caller)
            try:
                async with asyncio.timeout(0.2):
                    await loop.sock_connect(caller, listener.getsockname())
            except TimeoutError:
                break
        yield listener.getsockname()[1]
        for caller in callers:
            caller.close()

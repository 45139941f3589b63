"""Clients of the authorization server for each way to authenticate and each grant, and how the product is told of them.

Keys and certificates are made for one run. The name of a client is also that of its connection.
"""

import datetime as dt
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

SECRET = "0123456789/abcdef+%&: 0123456789-0123456789-0123456789-0123456789"  # as long as HS512 wants it
PASSPHRASE = "open & sesame"
CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
SHARED = ("HS256", "HS384", "HS512")
PRIVATE = (*RSA, *CURVES, "EdDSA")
SCOPE = "openid offline_access orders:read"


@dataclass
class Clients:
    """`registered` is what the server knows, `iclients` what an operator writes; files lie in `folder`."""

    folder: object
    registered: list = field(default_factory=list)
    iclients: dict = field(default_factory=dict)

    def add(self, name, method, grants, *, known=(), **iclient):
        """Register a client that authenticates by `method`; `known` is what else the server knows of it."""
        interactive = "authorization_code" in grants
        self.registered.append({
            "client_id": name,
            "token_endpoint_auth_method": method,
            "grant_types": list(grants),
            "redirect_uris": [f"http://127.0.0.1/oauth/callback/{name}"] if interactive else [],
            "application_type": "native",  # any port of the loopback is good (RFC 8252 §7.3)
            "response_types": ["code"] if interactive else [],
            "scope": SCOPE,
            **dict(known),
        })  # fmt: skip
        self.iclients[name] = {"client_id": name, "grant_type": grants[0], "tls": {"ca": "ca.pem"}, **iclient}


def key_of(algorithm):
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm]())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def self_signed(key):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "own-certificate")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=30))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def made(folder, authority):
    """Make all clients, and their files in `folder`."""
    clients = Clients(folder)
    _secrets(clients)
    _assertions(clients)
    _certificates(clients, authority)
    _humans(clients)
    return clients


def _secrets(clients):
    secret, known = {"env": "CONFORMANCE_SECRET"}, {"client_secret": SECRET}
    for method in ("basic", "post"):
        clients.add(
            f"secret-{method}", f"client_secret_{method}", ["client_credentials"], known=known, client_secret=secret,
            client_auth=f"client_secret_{method}",
        )  # fmt: skip
    for algorithm in SHARED:
        clients.add(
            f"jwt-{algorithm.lower()}", "client_secret_jwt", ["client_credentials"],
            known={**known, "token_endpoint_auth_signing_alg": algorithm},
            jwt={"algorithm": algorithm, "secret": secret},
        )  # fmt: skip
    clients.add(
        "brought", "client_secret_basic", ["refresh_token", "password"], known=known, client_secret=secret,
    )  # fmt: skip


def _assertions(clients):
    rsa_key = key_of("RS256")
    for algorithm in PRIVATE:
        key = rsa_key if algorithm in RSA else key_of(algorithm)
        name = f"jwt-{algorithm.lower()}"
        encrypted = algorithm in CURVES
        encryption = BestAvailableEncryption(PASSPHRASE.encode()) if encrypted else NoEncryption()
        file = clients.folder / f"{name}.pem"
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        file.chmod(0o600)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        jwt = {"algorithm": algorithm, "private_key": {"file": file.name}}
        jwt |= {"passphrase": {"env": "CONFORMANCE_PASSPHRASE"}} if encrypted else {}
        clients.add(
            name, "private_key_jwt", ["client_credentials"],
            known={"token_endpoint_auth_signing_alg": algorithm, "public_key": public}, jwt=jwt,
        )  # fmt: skip


def _certificates(clients, authority):
    leaf = authority.issue("client.test")
    own = key_of("ES256")
    pairs = {
        "tls-ca": (leaf.private_key_pem.bytes(), b"".join(blob.bytes() for blob in leaf.cert_chain_pems)),
        "tls-own": (own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), self_signed(own)),
    }
    known = {
        "tls-ca": ("tls_client_auth", {"tls_client_auth_san_dns": "client.test"}),
        "tls-own": ("self_signed_tls_client_auth", {"certificate": pairs["tls-own"][1].decode()}),
    }
    for name, (key, certificate) in pairs.items():
        for suffix, content in (("key", key), ("cert", certificate)):
            file = clients.folder / f"{name}.{suffix}.pem"
            file.write_bytes(content)
            file.chmod(0o600)
        method, more = known[name]
        tls = {"ca": "ca.pem", "client_cert": f"{name}.cert.pem", "client_key": f"{name}.key.pem"}
        clients.add(name, method, ["client_credentials"], known=more, client_auth="tls_client_auth", tls=tls)
    # The same client, but with the certificate of another one.
    clients.iclients["tls-wrong"] = {
        **clients.iclients["tls-ca"],
        "tls": {"ca": "ca.pem", "client_cert": "tls-own.cert.pem", "client_key": "tls-own.key.pem"},
    }


def _humans(clients):
    consent = {"scopes": SCOPE, "authorization_params": {"prompt": "consent"}}
    secret, known = {"env": "CONFORMANCE_SECRET"}, {"client_secret": SECRET}
    code, device = ["authorization_code", "refresh_token"], ["device_code", "refresh_token"]
    wire = ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]
    clients.add("code-secret", "client_secret_post", code, known=known, client_secret=secret,
                client_auth="client_secret_post", **consent)  # fmt: skip
    clients.add("code-public", "none", code, **consent)
    clients.add("code-without-pkce", "client_secret_basic", code, known=known, client_secret=secret, pkce="off",
                **consent)  # fmt: skip
    for name, method, more in (("device-public", "none", {}), ("device-secret", "client_secret_basic", known)):
        clients.add(name, method, device, known={**more, "grant_types": wire}, scopes=SCOPE)
    clients.iclients["device-secret"]["client_secret"] = secret

"""iClients and connections as the API of integrator.io returns them, written from what is known of its fields."""

import json

from proxy.celigo.document import document
from proxy.celigo.resources import read
from proxy.definitions.load import load

MASK = "******"
ENVIRON_VALUE = "canary-from-the-environment"


def iclient(oauth2, **members):
    """Return a custom iClient; `oauth2` is laid over the shortest one there can be."""
    usual = {
        "clientId": "app",
        "clientSecret": MASK,
        "grantType": "clientcredentials",
        "clientCredentialsLocation": "basicauthheader",
        "token": {"uri": "https://auth.example.com/token"},
        "validDomainNames": ["example.com"],
        "useNewAuthFailSchema": True,
    }
    return {"_id": "ic1", "name": "Acme", "provider": "custom_oauth2", "oauth2": {**usual, **oauth2}, **members}


def connection(auth=None, **http):
    """Return a connection of the iClient `ic1`."""
    usual = {
        "baseURI": "https://api.example.com",
        "mediaType": "json",
        "_iClientId": "ic1",
        "auth": {"type": "oauth", "oauth": {"useIClientFields": True}} if auth is None else auth,
    }
    return {"_id": "co1", "name": "Acme CRM", "type": "http", "http": {**usual, **http}}


def made(*resources):
    """Return what these resources come to."""
    return document(read([("export.json", json.dumps(list(resources)))]))


def loaded(folder, *resources, secrets=None, server=None):
    """Import, load with every wanted variable set, and return the definitions and the document.

    `server` plays `auth.example.com`: it speaks http on a port of its own.
    """
    done = made(*resources)
    text = done.text
    if server is not None:
        content = json.loads(json.dumps(done.definitions).replace("https://auth.example.com", server.issuer))
        inline = [each.get("iclient") for each in content["connections"].values()]
        for client in (*content.get("iclients", {}).values(), *inline):
            if isinstance(client, dict):
                client |= {"valid_domains": [server.authority], "allow_insecure": True}
        text = json.dumps(content, indent=1)
    file = folder / "imported.yaml"
    file.write_text(text)
    environ = {each.variable: ENVIRON_VALUE for each in done.notes.wanted} | (secrets or {})
    return load((file,), environ).definitions, done

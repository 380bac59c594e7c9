"""The client and TLS: the server's authority, the client's own certificate, and what is refused."""

import datetime
import ipaddress

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fake_serving import FakeServing, png

from cmask_tf.errors import UserError
from cmask_tf.serving import client
from cmask_tf.serving.client import SegmentClient, ServerError, tls

PHOTO = png(np.zeros((4, 4, 3), np.uint8))


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Further attempts follow at once."""
    monkeypatch.setitem(client._RETRY, "initialBackoff", "0.02s")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """NAME.pem and NAME.key: an authority, a server and a client that it signed, and a stranger."""
    folder = tmp_path_factory.mktemp("tls")
    authority = issue(folder, "authority")
    for name in ("server", "client"):
        issue(folder, name, authority)
    issue(folder, "stranger")
    return folder


def issue(folder, name, issuer=None):
    """A certificate for 127.0.0.1, signed by the issuer (certificate, key) or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(issuer[0].subject if issuer else subject, subject, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def serving(files, asks_for_certificates=False):
    pair = [((files / "server.key").read_bytes(), (files / "server.pem").read_bytes())]
    authority = (files / "authority.pem").read_bytes() if asks_for_certificates else None
    return FakeServing(grpc.ssl_server_credentials(pair, authority, asks_for_certificates))


def ask(server, credentials):
    with SegmentClient(server.target, credentials=credentials, deadline=20) as asking:
        return asking.segment_encoded([PHOTO], [["red"]])[0][0]


def test_the_authority_of_the_server_is_a_file(files):
    with serving(files) as server:
        assert ask(server, tls(files / "authority.pem")).known


def test_a_server_that_asks_for_a_certificate_gets_the_clients(files):
    with serving(files, asks_for_certificates=True) as server:
        assert ask(server, tls(files / "authority.pem", files / "client.pem", files / "client.key")).known
        with pytest.raises(ServerError):
            ask(server, tls(files / "authority.pem"))


def test_a_server_of_another_authority_is_refused(files):
    with serving(files) as server, pytest.raises(ServerError, match="no server answers"):
        ask(server, tls(files / "stranger.pem"))


def test_a_missing_file_and_a_missing_key_are_named(files, tmp_path):
    with pytest.raises(UserError, match="no.pem: No such file"):
        tls(tmp_path / "no.pem")
    with pytest.raises(UserError, match="go together"):
        tls(files / "authority.pem", files / "client.pem")

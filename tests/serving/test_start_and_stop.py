"""The command: wrong input in one line, TLS, SIGTERM."""

import datetime
import ipaddress
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving_fixture import SLOW, encoded_request, held, png, serving, stub, wait_until
from tensorflow_serving.apis import prediction_service_pb2_grpc

from cmask_tf.cli import main

ROOT = Path(__file__).parent.parent.parent
Code = grpc.StatusCode


def health_of(channel):
    return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10).status


def begin(server, service):
    """A request that runs until the gate of `held` opens."""
    running = service.Predict.future(SLOW, timeout=60)
    wait_until(lambda: b"cmask_requests_in_flight 1.0" in server.predictor.metrics.page())
    return running


def test_draining_ends_what_runs_and_refuses_what_is_new(base):
    with serving(base) as server, held(server) as gate:
        channel, service = stub(server)
        with channel:
            running = begin(server, service)
            server.stopped = True
            stopping = threading.Thread(target=server.call, args=(server.stop(),))
            stopping.start()
            wait_until(lambda: health_of(channel) == health_pb2.HealthCheckResponse.NOT_SERVING)
            with pytest.raises(grpc.RpcError) as error:
                service.Predict(SLOW, timeout=30)
            assert error.value.code() == Code.UNAVAILABLE
            url = f"http://127.0.0.1:{server.rest_port}/v1/models/toy:predict"
            assert httpx.post(url, content='{"instances": [1]}').status_code == 503
            gate.set()
            assert running.result().outputs, "what ran before the signal gets its answer"
            stopping.join(30)
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)


def test_draining_ends_after_its_grace_whatever_runs(base):
    with serving(base, grace_seconds=0.1) as server, held(server):
        channel, service = stub(server)
        with channel:
            running = begin(server, service)
            server.stopped = True
            server.call(server.stop())
            assert running.code() in (Code.UNAVAILABLE, Code.CANCELLED)


def start(base, *flags, script="serving/server.py"):
    command = [sys.executable, script, "--model-base-path", base, "--port=0", "--rest_api_port=0", *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def test_the_script_serves_until_sigterm_and_then_ends_with_0(base):
    process = start(base, "--model_name=toy", "--max-batch-size", "2")
    lines = []
    try:
        for text in process.stderr:
            lines.append(text)
            if '"serving"' in text:
                break
        ports = json.loads(lines[-1])
        answer = httpx.get(f"http://127.0.0.1:{ports['rest']}/v1/models/toy")
        assert answer.status_code == 200
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(30) == 0
    finally:
        process.kill()
    assert '"stopped", "whole": true' in rest
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--model_base_path=/nowhere"], "/nowhere: no such folder"),
        (["--port=70000"], "--port: 70000; expected 0 to 65535"),
        (["--max_batch_size=0"], "--max_batch_size: 0; expected at least 1"),
        (["--max_image_pixels=1000000000"], "expected at most 178956970"),
        (["--batch_timeout_micros=-1"], "--batch_timeout_micros: -1; expected 0 or more"),
        (["--file_system_poll_wait_seconds=0"], "expected more than 0"),
        (["--ssl_key_file=key.pem"], "expected both or neither"),
        (["--ssl_client_ca_file=ca.pem"], "expected --ssl_key_file and --ssl_cert_file with it"),
        (["--ssl-key-file=no.pem", "--ssl-cert-file=no.pem"], "no.pem: no such file"),
        (["--host=256.0.0.1"], "256.0.0.1:0: cannot listen there"),
    ],
)
def test_wrong_flags_are_one_line_and_exit_2(base, capsys, flags, words):
    assert main(["serve", "--model_base_path", str(base), "--port=0", "--rest_api_port=0", *flags]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("cmask: error: ")
    assert words in error


def test_a_port_that_is_taken_is_one_line(base, capsys):
    with serving(base) as server:
        for flags in (
            [f"--port={server.port}", "--rest_api_port=0"],
            [f"--rest_api_port={server.rest_port}"],
        ):
            assert main(["serve", "--model_base_path", str(base), "--port=0", *flags]) == 2
            assert "cannot listen there" in capsys.readouterr().err.splitlines()[-1]


def test_both_spellings_of_a_flag(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    text = capsys.readouterr().out
    assert "--model-base-path" in text and "--model_base_path" in text


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A CA, and a certificate of it for the server and for a client."""
    folder = tmp_path_factory.mktemp("tls")
    ca_key = ec.generate_private_key(ec.SECP256R1())
    write(folder / "ca.pem", make(ca_key, "ca", ca_key, "ca", ca=True))
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        write(folder / f"{name}.pem", make(key, name, ca_key, "ca"))
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (folder / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return folder


def write(file, certificate):
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def make(key, name, issuer_key, issuer, ca=False):
    def named(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    return (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), address]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def test_tls_with_client_certificates_on_both_ports(base, certificates):
    files = {
        "ssl_key_file": certificates / "server.key",
        "ssl_cert_file": certificates / "server.pem",
        "ssl_client_ca_file": certificates / "ca.pem",
    }
    ca = (certificates / "ca.pem").read_bytes()
    pair = [(certificates / f"client.{end}").read_bytes() for end in ("key", "pem")]
    request = encoded_request([png()], [[b"red"]])
    with serving(base, **files) as server:
        for credentials, good in (
            (grpc.ssl_channel_credentials(ca, *pair), True),
            (grpc.ssl_channel_credentials(ca), False),
        ):
            with grpc.secure_channel(f"127.0.0.1:{server.port}", credentials) as channel:
                call = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict.future(
                    request, timeout=20
                )
                assert (call.code() == Code.OK) is good
        context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        url = f"https://127.0.0.1:{server.rest_port}/v1/models/toy"
        with pytest.raises(httpx.HTTPError):
            httpx.get(url, verify=context)
        context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
        assert httpx.get(url, verify=context).status_code == 200


def test_a_key_of_another_certificate_is_one_line(base, certificates, capsys):
    files = [
        f"--ssl_key_file={certificates / 'client.key'}",
        f"--ssl_cert_file={certificates / 'server.pem'}",
    ]
    assert main(["serve", "--model_base_path", str(base), "--port=0", "--rest_api_port=0", *files]) == 2
    assert "expected a certificate and its key" in capsys.readouterr().err.splitlines()[-1]

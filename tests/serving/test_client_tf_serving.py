"""`serving/tf_serving/`: the files parse as TensorFlow Serving parses them, and name flags that it has.

TensorFlow Serving's package carries the messages of models.config alone; the others' fields are written down
here from session_bundle_config.proto, monitoring_config.proto and ssl_config.proto of its sources.
"""

import json
import os
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "serving" / "tf_serving"

INT64 = ".google.protobuf.Int64Value"
SCHEMA = {
    "BatchingParameters": {
        "max_batch_size": INT64,
        "batch_timeout_micros": INT64,
        "max_enqueued_batches": INT64,
        "num_batch_threads": INT64,
        "thread_pool_name": ".google.protobuf.StringValue",
        "allowed_batch_sizes": "repeated int64",
        "pad_variable_length_inputs": "bool",
    },
    "PrometheusConfig": {"enable": "bool", "path": "string"},
    "MonitoringConfig": {"prometheus_config": ".PrometheusConfig"},
    "SSLConfig": {
        "server_key": "string",
        "server_cert": "string",
        "custom_ca": "string",
        "client_verify": "bool",
    },
}

# Of tensorflow_model_server's flags (model_servers/main.cc) those that a deployment sets.
FLAGS = {
    "port",
    "rest_api_port",
    "rest_api_num_threads",
    "rest_api_timeout_in_ms",
    "enable_batching",
    "batching_parameters_file",
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "monitoring_config_file",
    "ssl_config_file",
    "file_system_poll_wait_seconds",
    "num_load_threads",
    "num_unload_threads",
    "max_num_load_retries",
    "load_retry_interval_micros",
    "tensorflow_session_parallelism",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
    "grpc_channel_arguments",
    "grpc_max_threads",
    "enable_model_warmup",
}


def parsed(text: str, message: str):
    """A text file as the message of SCHEMA; unknown fields and wrong types are errors."""
    file = descriptor_pb2.FileDescriptorProto(name="schema.proto", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in SCHEMA.items():
        made = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            repeated, kind = kind.startswith("repeated "), kind.removeprefix("repeated ")
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            added = made.field.add(name=field, number=number, label=label)
            if kind.startswith("."):
                added.type, added.type_name = kinds.TYPE_MESSAGE, kind
            else:
                added.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return text_format.Parse(text, message_factory.GetMessageClass(pool.FindMessageTypeByName(message))())


def test_models_config_serves_the_newest_version_of_one_model():
    from tensorflow_serving.config import model_server_config_pb2

    text = (FOLDER / "models.config").read_text()
    (model,) = text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("default", "/models/default", "tensorflow")
    assert model.model_version_policy.latest.num_versions == 1


def test_batching_config_joins_rows_of_other_numbers_of_concepts():
    batching = parsed((FOLDER / "batching.config").read_text(), "BatchingParameters")
    assert batching.max_batch_size.value >= 1 and batching.num_batch_threads.value >= 1
    assert batching.max_enqueued_batches.value >= 1
    assert batching.HasField("batch_timeout_micros")
    assert batching.pad_variable_length_inputs


def test_monitoring_config_names_the_path_that_kubernetes_scrapes():
    monitoring = parsed((FOLDER / "monitoring.config").read_text(), "MonitoringConfig").prometheus_config
    deployment = next(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
    scraped = deployment["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"]
    assert monitoring.enable and monitoring.path == scraped


def test_a_field_that_is_none_does_not_parse():
    with pytest.raises(text_format.ParseError):
        parsed("max_batchsize { value: 8 }", "BatchingParameters")


@pytest.mark.parametrize("asks", [False, True])
def test_ssl_config_holds_the_pem_texts_themselves(tmp_path, asks):
    pems = {}
    for name in ("server_key", "server_cert", "custom_ca"):
        pems[name] = f"-----BEGIN {name}-----\nMIIB+/=\nAAAA\n-----END {name}-----\n"
        (tmp_path / name).write_text(pems[name])
    files = [tmp_path / name for name in (pems if asks else list(pems)[:2])]
    done = subprocess.run(
        ["bash", FOLDER / "ssl_config.sh", *files], capture_output=True, text=True, check=True
    )
    config = parsed(done.stdout, "SSLConfig")
    assert (config.server_key, config.server_cert) == (pems["server_key"], pems["server_cert"])
    assert (config.custom_ca, config.client_verify) == (pems["custom_ca"] if asks else "", asks)


def deployments() -> dict[str, dict]:
    """The container of each way to start the server: its arguments, and the file it is from."""
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["serving"]
    kubernetes = next(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
    (container,) = kubernetes["spec"]["template"]["spec"]["containers"]
    return {"compose": compose | {"args": compose["command"]}, "kubernetes": container}


@pytest.mark.parametrize("name", ["compose", "kubernetes"])
def test_a_deployment_names_flags_and_files_that_exist(name):
    arguments = deployments()[name]["args"]
    for argument in arguments:
        flag, value = re.fullmatch(r"--(\w+)=(\S+)", argument).groups()
        assert flag in FLAGS
        if flag.endswith("_file"):
            assert (FOLDER / Path(value).relative_to("/config")).is_file()
    given = {argument.split("=")[0] for argument in arguments}
    assert {"--model_config_file", "--batching_parameters_file", "--monitoring_config_file"} <= given


def test_every_probe_calls_the_script_with_a_word_that_it_knows():
    container = deployments()["kubernetes"]
    commands = [container[f"{kind}Probe"]["exec"]["command"] for kind in ("startup", "readiness", "liveness")]
    commands.append(deployments()["compose"]["healthcheck"]["test"][1:])
    assert [command[-1] for command in commands] == ["predict", "available", "available", "available"]
    assert all(command[:2] == ["bash", "/config/probe.sh"] for command in commands)


def test_the_limits_are_there_and_the_service_finds_the_pods():
    deployment, service = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    container = deployments()["kubernetes"]
    assert {"cpu", "memory"} <= set(container["resources"]["limits"])
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == labels
    opened = {port["containerPort"] for port in container["ports"]}
    assert {port["port"] for port in service["spec"]["ports"]} == opened == {8500, 8501}


class Rest(BaseHTTPRequestHandler):
    """REST answers of a server whose model is in a given state."""

    protocol_version = "HTTP/1.1"
    state, asked = "AVAILABLE", None

    def do_GET(self):
        status = {"error_code": "OK", "error_message": "not yet AVAILABLE"}
        self.answer(200, {"model_version_status": [{"version": "1", "state": self.state, "status": status}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked = self.path, body
        room = body["instances"][0]["concepts"] == ["dress"]
        answer = {"predictions": [{"mask_png_bytes": [{"b64": ""}]}]}
        self.answer(200 if room else 503, answer)

    def answer(self, code, value):
        if not re.fullmatch("/v1/models/default(:predict)?", self.path):
            code, value = 404, {"error": 'Could not find any versions of model "AVAILABLE"'}
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def rest():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Rest)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def probe(server, what, **environment) -> int:
    port = str(server.server_address[1])
    environment = {"PROBE_PORT": port, "PROBE_CONCEPT": "dress", **environment}
    return subprocess.run(["bash", FOLDER / "probe.sh", what], env=os.environ | environment).returncode


def test_the_probe_asks_for_available_and_one_tiny_predict(rest):
    assert probe(rest, "available") == 0
    assert probe(rest, "predict") == 0
    path, body = Rest.asked
    assert path == "/v1/models/default:predict"
    assert body["signature_name"] == "segment_encoded"
    assert len(body["instances"][0]["image_bytes"]["b64"]) < 200


@pytest.mark.parametrize("what", ["available", "predict"])
def test_a_model_that_is_still_loading_is_not_ready(rest, monkeypatch, what):
    monkeypatch.setattr(Rest, "state", "LOADING")
    assert probe(rest, what) == 1


def test_a_refused_predict_an_unknown_model_and_a_closed_port_are_not_ready(rest):
    assert probe(rest, "predict", PROBE_CONCEPT="hat") == 1
    assert probe(rest, "available", PROBE_MODEL="other") == 1
    assert probe(rest, "available", PROBE_PORT="1") == 1

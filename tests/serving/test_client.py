"""The client against a server without a model: what it sends, reads, tries again, and says."""

import io
import socket
import threading

import grpc
import numpy as np
import pytest
from fake_serving import FakeServing, png
from PIL import Image

from cmask_tf.errors import UserError
from cmask_tf.serving.client import Refused, SegmentClient, ServerError, encode_photo

UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, "the queue is full")


pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def client(serving):
    with SegmentClient(serving.target, deadline=20) as connected:
        yield connected


def scene(height=12, width=8, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_a_photo_and_concepts_give_one_answer_each(client, tmp_path):
    pixels = scene()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    red, blue = client.segment(tmp_path / "a.png", ["red", "blue"])
    np.testing.assert_array_equal(red.mask(), pixels[..., 0])
    np.testing.assert_array_equal(blue.mask(), pixels[..., 2])
    assert red.score == pytest.approx((pixels[..., 0] >= 128).mean())
    assert red.known and red.present == (red.score >= 0.5)


def test_images_of_other_sizes_and_numbers_of_concepts_go_in_one_request(serving, client):
    small, large = scene(5, 7), scene(20, 10, seed=1)
    first, second = client.segment_encoded([png(small), png(large)], [["green"], ["blue", "hat", "red"]])
    assert serving.calls == 1
    assert [len(first), len(second)] == [1, 3]
    np.testing.assert_array_equal(first[0].mask(), small[..., 1])
    np.testing.assert_array_equal(second[2].mask(), large[..., 0])


def test_columns_that_a_server_added_to_fill_a_batch_up_are_left_out(serving, client, monkeypatch):
    """TensorFlow Serving's `pad_variable_length_inputs`: rows become as long as the longest of the batch."""
    whole = serving.answer

    def filled_up(request):
        concepts = request.inputs["concepts"]
        concepts.string_val.append(concepts.string_val[0])
        concepts.tensor_shape.dim[1].size += 1
        return whole(request)

    monkeypatch.setattr(serving, "answer", filled_up)
    pixels = scene()
    (row,) = client.segment_encoded([png(pixels)], [["blue", "red"]])
    assert len(row) == 2
    np.testing.assert_array_equal(row[1].mask(), pixels[..., 0])


def test_an_unknown_concept_and_a_broken_image_spoil_nothing_else(client):
    rows = client.segment_encoded([png(scene()), b"no image"], [["hat", "red"], ["red"]])
    assert [[answer.known for answer in row] for row in rows] == [[False, True], [True]]
    assert [[bool(answer.png) for answer in row] for row in rows] == [[False, True], [False]]


def test_unavailable_is_tried_again_also_for_a_large_photo(serving, client):
    serving.fail = [UNAVAILABLE, UNAVAILABLE]
    large = png(scene(700, 700))
    assert len(large) > 1 << 20
    assert client.segment_encoded([large], [["red"]])[0][0].known
    assert serving.calls == 3


def test_it_gives_up_after_five_attempts(serving, client):
    serving.fail = [UNAVAILABLE] * 9
    with pytest.raises(ServerError, match="the queue is full"):
        client.segment_encoded([png(scene())], [["red"]])
    assert serving.calls == 5


@pytest.mark.parametrize(
    "code",
    ["RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "INTERNAL", "ABORTED", "CANCELLED"],
)
def test_nothing_else_is_tried_again(serving, client, code):
    serving.fail = [(grpc.StatusCode[code], "no")]
    with pytest.raises(UserError):
        client.segment_encoded([png(scene())], [["red"]])
    assert serving.calls == 1


@pytest.mark.parametrize("code, kind", [("INTERNAL", Refused), ("PERMISSION_DENIED", ServerError)])
def test_errors_of_one_request_and_of_the_server_are_told_apart(serving, client, code, kind):
    serving.fail = [(grpc.StatusCode[code], "no")]
    with pytest.raises(kind, match=f"{code}: no"):
        client.segment_encoded([png(scene())], [["red"]])


def test_a_call_ends_at_its_deadline(serving):
    serving.delay = 1.0
    with SegmentClient(serving.target, deadline=0.2) as hurried:
        with pytest.raises(Refused, match="no answer within 0.2 seconds"):
            hurried.segment_encoded([png(scene())], [["red"]])


def test_answers_larger_than_grpcs_own_limit_arrive(client):
    pixels = scene(1500, 1500)
    answers = client.segment_encoded([png(pixels)], [["red", "green", "blue"]])[0]
    assert sum(len(answer.png) for answer in answers) > 4 << 20
    np.testing.assert_array_equal(answers[2].mask(), pixels[..., 2])


def test_a_request_over_the_clients_limit_says_so(serving):
    with SegmentClient(serving.target, max_message_bytes=1000) as narrow:
        with pytest.raises(Refused, match="larger than max"):
            narrow.segment_encoded([png(scene(100, 100))], [["red"]])


def test_servers_of_one_name_are_asked_in_turn(serving):
    with FakeServing() as other:
        with SegmentClient(f"ipv4:{serving.target},{other.target}", deadline=20) as both:
            both.segment_encoded([png(scene())], [["red"]])
            for _ in range(200):
                if serving.calls and other.calls:
                    break
                both.segment_encoded([png(scene())], [["red"]])
        assert serving.calls and other.calls


def test_an_unknown_model_is_named(serving):
    with SegmentClient(serving.target, "other") as other:
        with pytest.raises(ServerError, match="serves no model 'other'"):
            other.segment_encoded([png(scene())], [["red"]])


def test_a_model_without_the_signature_is_named(serving, client):
    details = 'Serving signature key "segment_encoded" not found.'
    serving.fail = [(grpc.StatusCode.FAILED_PRECONDITION, details)]
    with pytest.raises(ServerError, match="no signature 'segment_encoded'"):
        client.segment_encoded([png(scene())], [["red"]])


def test_a_grpc_server_of_another_kind_is_named():
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with (
        SegmentClient(f"127.0.0.1:{port}") as wrong,
        pytest.raises(ServerError, match="not a TensorFlow Serv"),
    ):
        wrong.segment_encoded([png(scene())], [["red"]])
    server.stop(None)


def test_a_rest_port_is_named(monkeypatch):
    from http.server import BaseHTTPRequestHandler, HTTPServer

    monkeypatch.setattr(BaseHTTPRequestHandler, "log_message", lambda *_: None)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with SegmentClient(f"127.0.0.1:{server.server_port}", deadline=20) as wrong:
        with pytest.raises(ServerError, match="not a TensorFlow Serving gRPC port"):
            wrong.segment_encoded([png(scene())], [["red"]])
    server.shutdown()
    server.server_close()


def test_a_port_where_nobody_listens_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        with SegmentClient(target, deadline=30) as lonely:
            with pytest.raises(ServerError, match=f"{target}: no server answers there"):
                lonely.segment_encoded([png(scene())], [["red"]])


def test_a_url_and_names_that_are_no_text_are_told_at_once():
    with pytest.raises(UserError, match="expected HOST:PORT"):
        SegmentClient("http://127.0.0.1:8501")
    with pytest.raises(UserError, match="expected printable names"):
        SegmentClient("127.0.0.1:8500", "a\udcff")


def test_an_answer_without_an_output_is_an_error(serving, client, monkeypatch):
    whole = serving.answer

    def partial(request):
        response = whole(request)
        del response.outputs["known"]
        return response

    monkeypatch.setattr(serving, "answer", partial)
    with pytest.raises(ServerError, match="no output 'known'"):
        client.segment_encoded([png(scene())], [["red"]])


@pytest.mark.parametrize("concepts", [[], [[]], [["red"], ["red"]]])
def test_a_request_needs_one_list_of_concepts_an_image(client, concepts):
    with pytest.raises(ValueError, match="one list of concepts an image"):
        client.segment_encoded([b""], concepts)


class TestWhatIsSent:
    """The stored pixels of what is sent are those that a person sees."""

    def saved(self, tmp_path, image, name="a.jpg", **options):
        image.save(tmp_path / name, **options)
        return tmp_path / name

    def test_an_upright_jpeg_goes_as_it_is(self, tmp_path):
        path = self.saved(tmp_path, Image.fromarray(scene()), exif=Image.Exif())
        assert encode_photo(path)[0] == path.read_bytes()

    def test_a_grey_jpeg_goes_as_it_is(self, tmp_path):
        path = self.saved(tmp_path, Image.fromarray(scene()).convert("L"))
        assert encode_photo(path)[0] == path.read_bytes()

    @pytest.mark.parametrize("orientation", range(2, 9))
    @pytest.mark.parametrize("name, loss", [("a.jpg", 2.0), ("a.png", 0.0)])
    def test_a_turned_photo_is_sent_upright(self, tmp_path, orientation, name, loss):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = self.saved(tmp_path, Image.fromarray(scene()), name, exif=exif)
        data, pixels = encode_photo(path)
        with Image.open(io.BytesIO(data)) as sent:
            assert not sent.getexif()
            assert np.abs(np.asarray(sent).astype(int) - pixels).mean() <= loss
        assert pixels.shape[:2] == ((8, 12) if orientation >= 5 else (12, 8))

    @pytest.mark.parametrize(
        "mode, name", [("RGBA", "a.png"), ("P", "a.png"), ("LA", "a.png"), ("RGB", "a.bmp"), ("P", "a.gif")]
    )
    def test_other_modes_and_formats_become_rgb_pngs(self, tmp_path, mode, name):
        path = self.saved(tmp_path, Image.fromarray(scene()).convert(mode), name)
        data, pixels = encode_photo(path)
        with Image.open(io.BytesIO(data)) as sent:
            assert (sent.format, sent.mode) == ("PNG", "RGB")
            np.testing.assert_array_equal(np.asarray(sent), pixels)

    def test_a_cmyk_jpeg_becomes_an_rgb_one(self, tmp_path):
        path = self.saved(tmp_path, Image.fromarray(scene()).convert("CMYK"))
        with Image.open(io.BytesIO(encode_photo(path)[0])) as sent:
            assert (sent.format, sent.mode) == ("JPEG", "RGB")

    def test_a_png_of_16_bits_becomes_one_of_8(self, tmp_path):
        cv2 = pytest.importorskip("cv2")
        path = tmp_path / "deep.png"
        cv2.imwrite(str(path), scene().astype(np.uint16) * 257)
        data, pixels = encode_photo(path)
        assert data[24] == 8
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)

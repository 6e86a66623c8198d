"""Digests of behaviour that a change of structure must not change: answers of the service, and what a short training run learns.

    python -m tests.frozen answers > before.json      # every route and answer form, on each bundle of model/pretrained
    python -m tests.frozen training DATA > before.json  # a few steps of every stage of every preset that suits DATA
    python -m tests.frozen answers | diff before.json -

Pixels and tensors depend on the processor, so digests are compared on one machine, and none is committed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import httpx

from tests import drawings

JSON, ZIP, NPZ, PNG, WEBP, GIF = "application/json", "application/zip", "application/x-npz", "image/png", "image/webp", "image/gif"
KEPT_HEADERS = ("content-type", "x-model", "x-seed", "x-sheet", "etag", "cache-control", "vary", "allow")
MADE_WITH = (PNG, WEBP, JSON, ZIP, NPZ)
STEPS, BATCH = 3, 20  # of every stage of a short run


def digest(answer: httpx.Response) -> str:
    """SHA-256 of status, headers and body, without what differs from one time to the next: request ids and timings."""
    body = answer.content
    if answer.headers.get("content-type", "").partition(";")[0] in (JSON, "application/problem+json"):
        answered = json.loads(body)
        if isinstance(answered, dict):
            answered = {key: value for key, value in answered.items() if key not in ("timings_ms", "request_id")}
        body = json.dumps(answered, ensure_ascii=False).encode()
    head = [answer.status_code, *(f"{name}: {answer.headers[name]}" for name in KEPT_HEADERS if name in answer.headers)]
    return hashlib.sha256(repr(head).encode() + body).hexdigest()


def requests(picture: str, code: str, name: str, dims: Any) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """By a name each: method, path and keywords for httpx. `picture` is one made by the model, in base64; `code` its token."""
    binary = base64.b64decode(picture)
    bodies: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "/generate": [
            ("many", {"class": 1, "n": 3, "seed": 1}),
            ("paper", {"class": 2, "n": 2, "seed": 5, "index": 4, "sampler": "paper", "temperature": 0.5, "class_temperature": 2.0}),
            ("one", {"class": 0, "seed": 9, "format": "webp"}),
        ],
        "/decode": [
            ("items", {"items": [{"code": code}, {"class": 1, "seed": 2}, {"class_weights": {"0": 0.5, "1": 0.5}, "seed": 1}]}),
            ("codes", {"items": [{"z_s": [0.25] * dims.dim_s, "z_u": [0.5] * dims.dim_u}, {"class": 1, "z_u": [-0.5] * dims.dim_u}]}),
        ],
        "/swap": [
            ("matrix", {"class_from": [picture, code], "style_from": [code, picture, picture], "verdict": True}),
            ("pair", {"class_from": [code], "style_from": [picture]}),
        ],
        "/interpolate": [
            ("both", {"keys": [picture, {"class": 1}], "frames": 4, "seed": 1, "verdict": True}),
            ("slerp", {"keys": [{"class": 0, "seed": 3}, {"class": 1, "seed": 4}, code], "frames": 5, "vary": "style", "path": "slerp"}),
            ("class", {"keys": [code, {"class": 2, "seed": 4}], "frames": 3, "vary": "class"}),
        ],
        "/edit": [
            ("class", {"image": picture, "class": 1, "strength": 0.5}),
            ("styles", {"image": code, "class": 1, "style_spread": 0.5, "n": 3, "seed": 1, "temperature": 0.5, "verdict": True}),
            ("directions", {"image": code, "directions": {"0": 1.5, "1": -1.0}}),
        ],
        "/inpaint": [("box", {"image": picture, "box": [1, 2, 3, 4]}), ("steps", {"image": picture, "box": [4, 4, 6, 6], "steps": 3})],
    }
    made: dict[str, tuple[str, str, dict[str, Any]]] = {}
    for path, forms in bodies.items():
        for form, body in forms:
            for media in (*MADE_WITH, *((GIF,) if path == "/interpolate" else ())):
                made[f"POST {path} {form} {media}"] = ("POST", path, {"json": body, "headers": {"accept": media}})
    for k, query in enumerate(("class=1&seed=1", "class=2&seed=7&n=5&index=3", "class=0&seed=3&sampler=paper&temperature=0.25")):
        for media in (PNG, WEBP):
            made[f"GET /generate {k} {media}"] = ("GET", f"/generate?{query}", {"headers": {"accept": media}})
    made["POST /encode json"] = ("POST", "/encode", {"json": {"images": [picture] * 2}})
    pictures = {"png": drawings.png(), "jpeg": drawings.jpeg(), "webp": drawings.webp()}
    for kind, raw in pictures.items():
        made[f"POST /encode {kind}"] = ("POST", "/encode", {"content": raw, "headers": {"content-type": f"image/{kind}"}})
    made["POST /encode multipart"] = ("POST", "/encode", {"files": [("image", ("a", binary)), ("image", ("b", pictures["jpeg"]))]})
    swap = [("class_from", ("a", binary)), ("style_from", ("b", pictures["png"])), ("style_from", ("c", binary))]
    made["POST /swap multipart"] = ("POST", "/swap", {"files": swap, "headers": {"accept": JSON}})
    made["POST /edit multipart"] = ("POST", "/edit", {"files": [("image", ("a", binary))], "data": {"class": "1"}})
    made["POST /inpaint multipart"] = ("POST", "/inpaint", {"files": [("image", ("a", binary))], "data": {"box": "1,2,3,4"}})
    made["POST /inspect verify"] = ("POST", "/inspect", {"json": {"image": picture, "verify": True}})
    made["POST /inspect none"] = ("POST", "/inspect", {"json": {"image": base64.b64encode(pictures["png"]).decode()}})
    for path in ("/models", f"/models/{name}", f"/models/{name}/classes", f"/models/{name}/examples", "/livez", "/readyz", "/version"):
        made[f"GET {path}"] = ("GET", path, {})
    for path in ("/v2", "/v2/health/ready", f"/v2/models/{name}.encoder", f"/v2/models/{name}.decoder"):
        made[f"GET {path}"] = ("GET", path, {})
    halves = [
        {"name": part, "datatype": "FP32", "shape": [2, d], "data": [0.5] * 2 * d} for part, d in (("z_s", dims.dim_s), ("z_u", dims.dim_u))
    ]
    made["POST infer"] = ("POST", f"/v2/models/{name}.decoder/infer", {"json": {"inputs": halves}})
    asked = {"inputs": halves, "parameters": {"binary_data_output": True}}
    made["POST infer binary"] = ("POST", f"/v2/models/{name}.decoder/infer", {"json": asked})
    wrong: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "/generate", {}),
        ("GET", "/generate?class=99999", {}),
        ("GET", "/generate?class=1&n=65", {}),
        ("GET", "/generate?class=1&seed=1&seed=2", {}),
        ("POST", "/generate", {"json": {"class": 1, "colour": 2}}),
        ("POST", "/generate", {"content": b'{"class": NaN}', "headers": {"content-type": JSON}}),
        ("POST", "/decode", {"json": {"items": [{"z_s": [1.0]}]}}),
        ("POST", "/decode", {"json": {"items": []}}),
        ("POST", "/swap", {"json": {"class_from": ["???"], "style_from": [code]}}),
        ("POST", "/encode", {"content": b"GIF89a", "headers": {"content-type": "image/gif"}}),
        ("POST", "/edit", {"json": {"image": code, "strength": 2.0}}),
        ("POST", "/interpolate", {"json": {"keys": [code], "frames": 1}}),
        ("POST", "/inpaint", {"json": {"image": picture, "box": [0, 0, 0, 0]}}),
        ("POST", "/inpaint", {"json": {"image": picture}}),
        ("DELETE", "/generate", {}),
        ("GET", "/nothing", {}),
        ("GET", "/models/other", {}),
        ("GET", "/generate?class=1", {"headers": {"accept": "text/html"}}),
    ]
    return made | {f"refused {k} {one[0]} {one[1]}": one for k, one in enumerate(wrong)}


async def answers() -> dict[str, dict[str, str]]:
    """Digests by request, by bundle that ships; and of openapi.json."""
    from twofold.service.http.app import create_app
    from twofold.service.http.openapi_document import openapi_json
    from twofold.service.runtime.registry import DEFAULT_BUNDLE, Registry, load
    from twofold.service.settings import Settings
    from twofold.service.telemetry import Metrics

    digests: dict[str, dict[str, str]] = {}
    for folder in sorted(path for path in DEFAULT_BUNDLE.parent.iterdir() if path.is_dir()):
        settings, metrics = Settings(), Metrics()
        model = load(folder, settings, metrics.batch_rows.observe)
        app = create_app(settings, Registry([model]), metrics)
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            made = await http.post("/generate", json={"class": 0, "seed": 3}, headers={"accept": JSON})
            (first,) = made.json()["images"]
            asked = requests(first["image"], first["code"], model.card.name, model.card.dims)
            digests[folder.name] = {key: digest(await http.request(*one[:2], **one[2])) for key, one in asked.items()}
            digests["openapi"] = {"openapi.json": hashlib.sha256(openapi_json()).hexdigest()}
    return digests


def training(data: Path) -> dict[str, dict[str, str]]:
    """Digests of the averaged weights that a short run of every preset ends with, part by part."""
    import torch

    from twofold.training import cli
    from twofold.training.config.schema import PRESETS
    from twofold.training.trainer import checkpoint

    digests: dict[str, dict[str, str]] = {}
    for preset in sorted(PRESETS.glob("*.toml")):
        stages = tomllib.loads(preset.read_text(encoding="utf-8"))["stage"]
        overrides = ["seed=3", "data.validation_rows=40"]
        for k in range(len(stages)):
            overrides += [f"stage.{k}.epochs={STEPS * BATCH / 1800}", f"stage.{k}.batch={BATCH}", f"stage.{k}.pictures_per_class=0"]
        with tempfile.TemporaryDirectory() as folder:
            words = ["--data", str(data), "--out", folder, "--threads", "1", "--device", "cpu"]
            if cli.main(["train", preset.stem, *words, *(f"--set={one}" for one in overrides)]):
                raise SystemExit(f"{preset.stem}: did not train")
            state = checkpoint.load(Path(folder) / "last.pt")
        parts: dict[str, Any] = {}
        for name, tensor in sorted(state["average"].items()):
            found = parts.setdefault(name.partition(".")[0], hashlib.sha256())
            found.update(name.partition(".")[2].encode() + tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        digests[preset.stem] = {part: found.hexdigest() for part, found in parts.items()}
    return digests


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    print(json.dumps(asyncio.run(answers()) if what == "answers" else training(Path(*rest)), indent=1, sort_keys=True))

"""Evidence bundles of what the chain says about a model, made on demand."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fastapi import APIRouter, Request, Response

from api import problems
from api.dependencies import ModelPath, Service, model_id, service
from api.lanes import lanes
from ledger.chain.network import Network
from ledger.claim import Claim
from ledger.errors import UnknownRecord
from ledger.fingerprint.exact import Fingerprint
from ledger.ids import Digest, ModelId
from ledger.index import library
from ledger.investigation import collect_model_evidence

router = APIRouter(prefix="/v1", tags=["evidence"])

MEDIA_TYPE = "application/zip"


@router.get(
    "/evidence/models/{id}",
    response_class=Response,
    responses=problems.READ_FAILURES
    | {
        int(problems.OK): {
            "description": "an evidence bundle (docs/spec/evidence-bundle.md)",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def bundle(request: Request, id: ModelPath) -> Response:  # noqa: A002 -- its name in the URL
    """Collect the evidence of a model as of the finalized block.

    Needs the model's claim and manifest, which its licensor may deposit here; `deed evidence
    collect` makes the same bundle without this service, and without waiting: this service collects
    one at a time and answers 503 meanwhile.
    """
    return await lanes(request).evidence.run(_collect, service(request), model_id(id))


def _collect(served: Service, which: ModelId) -> Response:
    claim, manifest, fingerprint = _deposited(served, which)
    with tempfile.TemporaryDirectory(prefix="deed-evidence-") as folder:
        path = collect_model_evidence(
            _network(served),
            claim,
            manifest,
            fingerprint,
            dest=Path(folder) / "bundle.evidence.zip",
            actor="the index service, on request",
        )
        content = path.read_bytes()
    name = f"{which.raw[:8].hex()}.evidence.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=MEDIA_TYPE, headers=headers)


def _deposited(
    served: Service, which: ModelId
) -> tuple[Claim, dict[str, object], Fingerprint | None]:
    with served.index.snapshot() as snapshot:
        model = snapshot.model(which)
        connection = snapshot.connection
        claim = library.document(connection, "claim", Digest(which.raw))
        manifest = library.document(connection, "manifest", Digest(bytes(model["manifest_hash"])))
        leaves = library.document(connection, "fingerprint", Digest(which.raw))
    if claim is None or manifest is None:
        missing = "claim" if claim is None else "manifest"
        raise UnknownRecord(
            f"the {missing} of model {which.short} was not deposited here",
            hint="its licensor can collect the bundle: deed evidence collect",
        )
    fingerprint = Fingerprint.from_json(leaves[0]) if leaves is not None and leaves[1] else None
    return Claim.from_json(claim[0]), manifest[0], fingerprint


def _network(served: Service) -> Network:
    urls = tuple(url.get_secret_value() for url in served.settings.rpc_urls)
    return Network("service", urls, served.deployment, served.profile)

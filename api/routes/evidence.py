"""Evidence bundles of what the chain says about a model, a license or a broker's receipt.

``GET`` makes one while the caller waits; ``/evidence/jobs`` makes it in the background. Both give
the bytes that ``deed evidence collect`` gives for the same documents, ``--as-of``, ``--clock`` and
``--actor`` (docs/api.md).
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from api import problems
from api.asking import ANYONE, allow
from api.dependencies import (
    LicensePath,
    ModelPath,
    Service,
    license_id,
    model_id,
    moment,
    service,
    unknown_license,
)
from api.evidence_jobs import EvidenceJobs, Work
from api.forms import AS_OF
from api.lanes import PARTY, lanes
from api.once import described
from api.schemas import evidence as schemas
from api.strict import StrictRoute
from ledger.chain.network import Network
from ledger.claim import Claim
from ledger.errors import ClaimMismatch, IndexUnavailable, UnknownRecord, UsageError
from ledger.evidence.bundle import read_bundle
from ledger.evidence.custody import read_log
from ledger.evidence.release_steps import parse_receipt
from ledger.fingerprint.exact import Fingerprint
from ledger.ids import Digest, LicenseId, ModelId
from ledger.index import library
from ledger.investigation import collect_model_evidence
from ledger.sealed.record import SealingRecord

router = APIRouter(prefix="/v1", tags=["evidence"], route_class=StrictRoute)
jobs_router = APIRouter(prefix="/v1", tags=["evidence"], route_class=StrictRoute)

MEDIA_TYPE = "application/zip"
ACTOR = "modeldeed service"
_ZIP: dict[int | str, dict[str, Any]] = {
    int(problems.OK): {
        "description": "an evidence bundle (docs/spec/evidence-bundle.md)",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}
_ACCEPTED = int(problems.ACCEPTED)
_GONE = int(problems.NO_CONTENT)
_JOB_FAILURES = problems.WRITE_FAILURES
_ASKER: Final[Any] = allow("evidence:write")
FinalBlock = Annotated[
    str | None,
    Query(
        pattern=AS_OF,
        description="a final block: its number, `finalized`, or the last of a UTC day or second; "
        "by default the newest",
    ),
]
JobPath = Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$", examples=["ab" * 16])]


@router.get(
    "/evidence/models/{id}", response_class=Response, responses=problems.READ_FAILURES | _ZIP
)
async def bundle(request: Request, id: ModelPath, as_of: FinalBlock = None) -> Response:  # noqa: A002 -- its name in the URL
    """Collect the evidence of a model as of the finalized block, or of a final one named.

    Needs the model's claim and manifest, which its licensor may deposit here; `deed evidence
    collect` makes the same bundle without this service, and without waiting: this service collects
    one at a time and answers 503 meanwhile.
    """
    served = service(request)
    at = await run_in_threadpool(_block, served, as_of)
    asked = {"model": str(model_id(id)), "as_of": at}
    return await lanes(request).evidence.run(_streamed, served, asked)


@router.get(
    "/evidence/licenses/{license}",
    response_class=Response,
    responses=problems.READ_FAILURES | _ZIP,
)
async def license_bundle(
    request: Request,
    license: LicensePath,  # noqa: A002 -- its name in the URL
    as_of: FinalBlock = None,
) -> Response:
    """Collect the evidence of one license, and of its model's title; as for a model."""
    served, which = service(request), license_id(license)
    model = await run_in_threadpool(_model_of, served, which)
    at = await run_in_threadpool(_block, served, as_of)
    asked = {"model": str(model), "license": str(which), "as_of": at}
    return await lanes(request).evidence.run(_streamed, served, asked)


@jobs_router.post(
    "/evidence/jobs",
    status_code=_ACCEPTED,
    responses=_JOB_FAILURES,
    dependencies=[described, _ASKER],
    openapi_extra=ANYONE,
)
async def begin_job(
    request: Request, response: Response, asked: schemas.EvidenceAsked
) -> schemas.Job:
    """Ask for a bundle that is collected in the background.

    Documents that are not given are those deposited here. A claim given here goes into this bundle
    and nowhere else; its salt becomes public with whoever gets the bundle. The receipt of a release
    must be given: it is its holder's business.
    """
    served, jobs = service(request), _jobs(request)
    subject = await run_in_threadpool(_subject, served, asked)
    wanted = asked.model_dump(mode="json", exclude_none=True) | {"model": subject["model"]}
    if asked.as_of is not None:
        wanted["as_of"] = await run_in_threadpool(_block, served, asked.as_of)
    number, work = await run_in_threadpool(jobs.ask, wanted, subject, PARTY.get())
    response.headers["Location"] = f"/v1/evidence/jobs/{number}"
    return _job(jobs, number, work)


@jobs_router.get("/evidence/jobs/{job}", responses=_JOB_FAILURES)
async def show_job(
    request: Request,
    job: JobPath,
    wait: Annotated[float, Query(ge=0, le=25, description="seconds to wait for news")] = 0.0,
    seen: Annotated[int, Query(ge=-1, le=1000, description="steps known; -1: until the end")] = -1,
) -> schemas.Job:
    """How a job stands; with `wait`, as soon as there is news, or at once while many wait."""
    jobs, lane = _jobs(request), lanes(request).jobs
    if wait and lane.has_place():
        return _job(jobs, job, await lane.run(jobs.look, job, wait=wait, seen=seen))
    return _job(jobs, job, await run_in_threadpool(jobs.look, job))


@jobs_router.get(
    "/evidence/jobs/{job}/bundle", response_class=Response, responses=_JOB_FAILURES | _ZIP
)
async def job_bundle(request: Request, job: JobPath) -> Response:
    """A job's bundle; no chain is needed any more. Ranges may be asked for."""
    path, work = await run_in_threadpool(_jobs(request).bundle, job)
    if work.error is not None or work.made is None:
        told = work.error or {"code": "INTERNAL_ERROR", "message": "no bundle", "hint": ""}
        return problems.problem(
            problems.CONFLICT, told["code"], "The job failed", told["message"], hint=told["hint"]
        )
    return FileResponse(path, media_type=MEDIA_TYPE, headers=_headers(work.made))


@jobs_router.delete(
    "/evidence/jobs/{job}",
    status_code=_GONE,
    response_class=Response,
    responses=_JOB_FAILURES,
    dependencies=[_ASKER],
    openapi_extra=ANYONE,
)
async def cancel_job(request: Request, job: JobPath) -> Response:
    """Cancel a job, or give its bundle up. Others who asked for the same keep it."""
    await run_in_threadpool(_jobs(request).leave, job)
    return Response(status_code=_GONE)


# -- collecting ------------------------------------------------------------------------------------


def collect(
    served: Service, asked: dict[str, Any], dest: Path, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Make the bundle that was asked for; what its answer's headers say.

    Raises:
        UnknownRecord: a document was neither given nor deposited.
        LedgerError: as `collect_model_evidence`.
    """
    claim, manifest, fingerprint = _documents(served, asked)
    license_ = asked.get("license")
    release = asked.get("release")
    path = collect_model_evidence(
        _network(served),
        claim,
        manifest,
        fingerprint,
        dest=dest,
        licenses=None if license_ is None else (LicenseId.parse(license_),),
        sealings=tuple(SealingRecord.from_json(of) for of in asked.get("sealings", ())),
        cards=tuple(asked.get("cards", ())),
        terms=tuple(asked.get("terms", ())),
        disclose_tensors=asked.get("tensors", True),
        releases=() if release is None else (release,),
        one=license_ is not None or release is not None,
        as_of=asked.get("as_of"),
        actor=ACTOR,
        note=asked.get("note", ""),
        progress=progress,
    )
    made = read_bundle(path)
    log = read_log(made.json("custody.json"), made.contents)
    return {
        "bytes": path.stat().st_size,
        "id": str(made.id),
        "block": made.subject.block,
        "collected_at": log[0].time,
        "name": f"{made.subject.model_id.raw[:8].hex()}.evidence.zip",
    }


def open_jobs(served: Service) -> EvidenceJobs | None:
    """The jobs of a service, in the folder its settings name; None without one.

    Raises:
        IndexUnavailable: another service has that folder.
    """
    settings = served.settings
    folder = settings.evidence_jobs
    if folder is None:
        return None
    return EvidenceJobs(
        folder,
        functools.partial(collect, served),
        keep=settings.evidence_keep,
        disk=settings.evidence_disk,
    )


def _streamed(served: Service, asked: dict[str, Any]) -> Response:
    with tempfile.TemporaryDirectory(prefix="deed-evidence-") as folder:
        path = Path(folder) / "bundle.evidence.zip"
        made = collect(served, asked, path, lambda _what: None)
        content = path.read_bytes()
    return Response(content, media_type=MEDIA_TYPE, headers=_headers(made))


def _headers(made: dict[str, Any]) -> dict[str, str]:
    return {
        "Content-Disposition": f'attachment; filename="{made["name"]}"',
        "Deed-Bundle": made["id"],
        "Deed-As-Of": str(made["block"]),
        "Deed-Clock": made["collected_at"],
    }


def _documents(
    served: Service, asked: dict[str, Any]
) -> tuple[Claim, dict[str, Any], Fingerprint | None]:
    """The documents given, and those deposited for what was not given."""
    which = ModelId.parse(asked["model"])
    with served.index.snapshot() as snapshot:
        connection = snapshot.connection
        found = library.document(connection, "claim", Digest(which.raw))
        claim = asked.get("claim") or (None if found is None else found[0])
        if claim is None:
            raise _absent("claim", which)
        opened = Claim.from_json(claim)
        if opened.model_id() != which:
            raise ClaimMismatch(f"the claim is that of model {opened.model_id()}")
        stored = library.document(connection, "manifest", opened.manifest_hash)
        leaves = library.document(connection, "fingerprint", Digest(which.raw))
    manifest = asked.get("manifest") or (None if stored is None else stored[0])
    if manifest is None:
        raise _absent("manifest", which)
    if asked.get("fingerprint") is not None:
        return opened, manifest, Fingerprint.from_json(asked["fingerprint"])
    whole = leaves is not None and leaves[1]
    return opened, manifest, Fingerprint.from_json(leaves[0]) if leaves and whole else None


def _absent(what: str, which: ModelId) -> UnknownRecord:
    return UnknownRecord(
        f"the {what} of model {which.short} was not deposited here",
        hint="its licensor can collect the bundle: deed evidence collect",
    )


def _block(served: Service, as_of: int | str | None) -> int | None:
    """The number of the block that is meant. A number is held against the chain itself.

    Raises:
        UnknownRecord: there is no such day or time, or the index has not read so far.
        PendingFinality: the block that was named is not final.
    """
    if as_of is None or isinstance(as_of, int) or as_of.isdigit():
        return None if as_of is None else int(as_of)
    which = moment(as_of)
    with served.index.snapshot(which.block, at=which.at, settled="finalized") as snapshot:
        return snapshot.as_of.block


def _model_of(served: Service, which: LicenseId) -> ModelId:
    with served.index.snapshot() as snapshot:
        row = snapshot.license(which)
        if row is None:
            raise unknown_license(which, snapshot.as_of.block)
        return ModelId(bytes(row["model_id"]))


def _subject(served: Service, asked: schemas.EvidenceAsked) -> dict[str, Any]:
    """Kind, model and license of what is asked for, which must be there.

    Raises:
        UsageError: nothing, or two things, are asked for.
        UnknownRecord: the index does not know the model or license.
    """
    if asked.release is not None:
        if asked.license is not None:
            raise UsageError("a receipt names its license", hint="leave license out")
        receipt, _, model = parse_receipt(asked.release)
        told = {"kind": "release", "model": model, "license": str(receipt.license_id)}
    elif asked.license is not None:
        which = license_id(asked.license)
        told = {"kind": "license", "model": str(_model_of(served, which)), "license": str(which)}
    elif asked.model is not None:
        told = {"kind": "model", "model": asked.model}
    else:
        raise UsageError("nothing is asked for", hint="give model, license or release")
    if asked.model not in {None, told["model"]}:
        raise ClaimMismatch("the license or receipt is of another model")
    with served.index.snapshot() as snapshot:
        snapshot.model(ModelId.parse(told["model"]))
    return told


def _network(served: Service) -> Network:
    urls = tuple(url.get_secret_value() for url in served.settings.rpc_urls)
    return Network("service", urls, served.deployment, served.profile)


def _jobs(request: Request) -> EvidenceJobs:
    jobs: EvidenceJobs | None = request.app.state.evidence_jobs
    if jobs is None:
        raise IndexUnavailable(
            "this service takes no evidence jobs",
            hint="its operator sets DEED_API_EVIDENCE_FOLDER; or use deed evidence collect",
        )
    return jobs


def _job(jobs: EvidenceJobs, number: str, work: Work) -> schemas.Job:
    made = work.made or {}
    done = work.state == "done"
    return schemas.Job(
        job=number,
        state=work.state,
        kind=work.subject["kind"],
        model=work.subject["model"],
        license=work.subject.get("license"),
        steps=list(work.steps),
        asked_at=int(work.asked_at),
        expires_at=jobs.expires_at(work),
        error=None if work.error is None else schemas.JobError(**work.error),
        bundle=f"/v1/evidence/jobs/{number}/bundle" if done else None,
        bytes=made.get("bytes"),
        id=made.get("id"),
        as_of=made.get("block"),
        clock=made.get("collected_at"),
    )

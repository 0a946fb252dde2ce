"""A dataset as Croissant 1.0 JSON-LD (MLCommons): which files there are, and a record for each case."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from brainspade_cli.nnunet.planes import NIFTI
from brainspade_cli.reporting.card import citations, summary, terms
from brainspade_cli.reporting.facts import DatasetFacts

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
# The context that the specification prescribes.
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_FIELDS = {
    "case": ("sc:Text", "Name of the case."),
    "files": ("sc:Text", "Paths of its images by channel, then of its label, then of its partial-volume maps if kept."),
    "lesion": ("sc:Boolean", "Whether a tumour or oedema was asked for, or a given label shows one."),
    "position_mm": ("sc:Float", "Height of the slice in mm (MNI152 z; of given labels, their own)."),
}


def croissant(facts: DatasetFacts) -> dict[str, Any]:
    """The JSON-LD document, for a file beside dataset.json. The same facts give the same document."""
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": facts.name,
        "description": f"{summary(facts)} {_provenance(facts)}".strip(),
        "license": " ".join(terms(facts)) or "The weights that made it state no terms.",
        "citeAs": " ".join(citations(facts)),
        "keywords": ["synthetic", "brain MRI", "segmentation", "nnU-Net", *facts.channels],
        "version": "1.0.0",
        "isLiveDataset": False,
        "distribution": list(_files(facts)),
        "recordSet": list(_records(facts)),
    }


def _provenance(facts: DatasetFacts) -> str:
    parts = []
    for run in facts.runs:
        hashes = ", ".join(f"{name} {digest}" for name, digest in sorted(run.sha256.items()))
        revision = f"at revision {run.revision}" if run.revision else ""
        origin = [" ".join(filter(None, (run.source, revision))), f"SHA-256: {hashes}" if hashes else ""]
        within = "; ".join(filter(None, origin))
        weights = " ".join(filter(None, (run.weights, f"({within})" if within else "")))
        known = [
            f"{run.pairs} pairs of {run.dataset}",
            "" if run.seed is None else f"seed {run.seed}",
            f"weights {weights}" if weights else "",
            f"command: {run.command}" if run.command else "",
        ]
        parts.append(f"{', '.join(filter(None, known))}.")
    return " ".join(parts)


def _files(facts: DatasetFacts) -> Iterator[dict[str, Any]]:
    pictures = "application/x-nifti" if facts.file_ending == NIFTI else "image/png"
    for number, channel in enumerate(facts.channels):
        includes = f"imagesTr/*_{number:04d}{facts.file_ending}"
        yield _file_set(f"images-{number:04d}", f"Images of the channel {channel}.", includes, pictures)
    said = ", ".join(f"{value} {name}" for name, value in sorted(facts.labels.items(), key=lambda item: item[1]))
    yield _file_set("labels", f"Label maps: {said}.", f"labelsTr/*{facts.file_ending}", pictures)
    if facts.pv:
        yield _file_set(
            "pv", "Partial-volume maps, one channel a label.", "brainspade/pv/*.nii.gz", "application/x-nifti"
        )
    yield _file_set("manifest", "How each case was made.", "brainspade/manifest*.jsonl", "application/jsonlines")


def _file_set(name: str, description: str, includes: str, encoding: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "description": description,
        "encodingFormat": encoding,
        "includes": includes,
    }


def _records(facts: DatasetFacts) -> Iterator[dict[str, Any]]:
    if "case" not in facts.columns:
        return
    fields = []
    for name in facts.columns:
        kind, description = _FIELDS[name]
        entry: dict[str, Any] = {
            "@type": "cr:Field",
            "@id": f"cases/{name}",
            "name": name,
            "description": description,
            "dataType": kind,
            "source": {"fileSet": {"@id": "manifest"}, "extract": {"column": name}},
        }
        fields.append(entry | ({"repeated": True} if name == "files" else {}))
    yield {
        "@type": "cr:RecordSet",
        "@id": "cases",
        "name": "cases",
        "description": "One record a case.",
        "key": {"@id": "cases/case"},
        "field": fields,
    }

"""Arguments and options that several verbs take, and the panels that verbs are shown in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ROUTINE, TRAINING, INFERENCE, CLUSTER, DEPLOYMENT, MONITORING, WORK = (
    "Data", "Training", "Inference", "Cluster", "Deployment", "Monitoring", "Work",
)  # fmt: skip

Place = Annotated[Path, typer.Argument(help="a folder with a trimtab.toml, the file itself, or a table with --target")]
Folder = Annotated[Path, typer.Option("--in", help="the pipeline's folder")]
Target = Annotated[str, typer.Option(help="the target, when PLACE is a table")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON (schema 1) and nothing else")]
NoModel = Annotated[bool, typer.Option("--no-model", help="ask no language model")]
Port = Annotated[int, typer.Option(help="to listen on, on the loopback; 0: any free one")]
MetricsPort = Annotated[int, typer.Option(help="for Prometheus, on the loopback; 0: any free one")]
Save = Annotated[Path | None, typer.Option(help="write the chosen program to this file, to be run")]
Manifests = Annotated[Path | None, typer.Option(help="write Kubernetes objects to this folder")]
Certificate = Annotated[Path | None, typer.Option(help="write a page of evidence to this .html file")]
RoutePolicy = Annotated[Path | None, typer.Option("--route", help="a file with the router's policy program")]
ReplicaPolicy = Annotated[Path | None, typer.Option("--policy", help="a file with the replica policy program")]
RollOut = Annotated[bool, typer.Option("--rollout", help="let a changed program in by shadow, canary, full")]
ShadowSeconds = Annotated[float, typer.Option(help="that a changed program is asked and not heeded")]
CanarySeconds = Annotated[float, typer.Option(help="that a changed program's share takes at the least")]
CanaryShare = Annotated[float, typer.Option(help="of the time in which a changed program routes")]
Margin = Annotated[float, typer.Option(help="share of requests by which more may be slow than by the program before")]

"""Put in front of a watched program's path by `trimtab watch`: Python imports it at its start, in every process.

Only the first Python process of the job looks at itself; loader workers and other children don't. The user's own
sitecustomize, which this one hides, is run as well.
"""

import os
import sys


def _begin() -> None:
    try:
        import trimtab
    except ImportError:  # installed elsewhere: what is needed here needs the standard library only
        root = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))
        sys.path.append(root)
        import trimtab.adapters.meters
        import trimtab.hooks.frameworks
        import trimtab.hooks.seeding  # noqa: F401

        sys.path.remove(root)
    from trimtab.hooks import watched
    from trimtab.hooks.seeding import shift_seeds

    shift_seeds(int(os.environ.pop("TRIMTAB_SEED", "0")))
    watched(
        os.environ.pop("TRIMTAB_WATCH"),
        acts=os.environ.pop("TRIMTAB_WATCH_ACTS", "") == "1",
        priority=os.environ.pop("TRIMTAB_WATCH_PRIORITY", ""),
    )


def _own() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [one for one in sys.path if os.path.abspath(one or ".") != here]
    before = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one and os.path.abspath(one) != here]
    os.environ["PYTHONPATH"] = os.pathsep.join(before)
    if not before:
        del os.environ["PYTHONPATH"]
    this = sys.modules.pop("sitecustomize")
    try:
        import sitecustomize  # noqa: F401  the user's
    except ImportError:
        sys.modules["sitecustomize"] = this


if "TRIMTAB_WATCH" in os.environ:
    try:
        _begin()
    except Exception as error:  # never the reason that a job fails
        print(f"trimtab: the job is watched from outside only: {error}", file=sys.stderr)
_own()

#!/usr/bin/env python3
"""Lists every tune of openembedded-core with what gcc is told for it: the first columns of targets/yocto/tunes.txt.

    python3 targets/yocto/tunes.py OE_CORE BITBAKE [OE_CORE BITBAKE ..]      several series give the union

The files of tunes are read by bitbake's own parser. `BLESS=1 cargo test --test yocto` adds what onnxc makes of each.
"""

import pathlib
import subprocess
import sys

HEAD = """\
# Every tune of openembedded-core, and what onnxc makes of it.
#
# tune | TARGET_ARCH | what TUNE_CCARGS tells gcc | words for onnxc, or why there is no code | features
# The first three columns are written by targets/yocto/tunes.py, the others by `BLESS=1 cargo test --test yocto`.
"""


def tunes(core, bitbake):
    """Answers {(tune, arch, words)} of one openembedded-core."""
    sys.path.insert(0, str(bitbake / "lib"))
    import bb.data_smart
    import bb.parse
    import bb.utils

    meta = core / "meta"
    sys.path.insert(0, str(meta / "lib"))
    try:
        import oe.tune

        # What bitbake does where a layer says addpylib.
        bb.utils._context["oe"] = oe
    except ImportError:
        pass  # An older series, whose tunes need no Python.
    found = set()
    for file in sorted((meta / "conf/machine/include").rglob("*.inc")):
        base = bb.data_smart.DataSmart()
        base.setVar("BBPATH", str(meta))
        base.setVar("COREBASE", str(core))
        base.setVar("MACHINE", "any")
        base.setVar("HOST_OS", "linux")
        base.setVar("TARGET_OS", "linux")
        base.setVar("TUNE_ARCH", "")
        base.setVar("TCLIBC", "glibc")
        # As in bitbake.conf.
        base.setVar("TUNE_FEATURES", "${TUNE_FEATURES:tune-${DEFAULTTUNE}}")
        base.setVar("TUNE_CCARGS", "")
        base.setVar("TARGET_ARCH", "${TUNE_ARCH}")
        try:
            base = bb.parse.handle(str(file), base, True)
        except bb.BBHandledException:
            continue
        for tune in sorted(set((base.getVar("AVAILTUNES") or "").split())):
            d = base.createCopy()
            d.setVar("DEFAULTTUNE", tune)
            d.setVar("OVERRIDES", "tune-" + tune)
            if not d.getVar("TUNE_FEATURES:tune-" + tune):
                continue
            d.setVar("TUNE_FEATURES", d.getVar("TUNE_FEATURES:tune-" + tune))
            arch = d.getVar("TARGET_ARCH")
            found.add((tune, arch, " ".join((d.getVar("TUNE_CCARGS") or "").split())))
    return found


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "--one":
        for row in sorted(tunes(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))):
            print(" | ".join(row))
        return
    if len(sys.argv) < 3 or len(sys.argv) % 2 == 0:
        sys.exit(__doc__)
    rows = set()
    for i in range(1, len(sys.argv), 2):
        # One process for each, since each has modules of its own.
        out = subprocess.run([sys.executable, __file__, "--one", *sys.argv[i : i + 2]], check=True, capture_output=True, text=True)
        rows.update(out.stdout.splitlines())
    print(HEAD + "\n".join(sorted(rows)))


if __name__ == "__main__":
    main()

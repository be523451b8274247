# SPDX-License-Identifier: MIT OR Apache-2.0
"""From TUNE_CCARGS to words for onnxc.

The tool reads gcc's -mcpu=, -march= and the like by itself. What is decided here is what happens where a series of OpenEmbedded
knows a CPU that the tool does not: the word is left out with a warning, so that code for the base level is made, which runs there.
Nothing is guessed. The names are in names.py, which is generated from the tool's own tables.
"""

import re

from . import names

_CPUS = {"aarch64": frozenset(names.AARCH64_CPUS.split()), "x86_64": frozenset(names.X86_64_CPUS.split())}
_VERSIONS = frozenset(names.AARCH64_VERSIONS.split())
_BASE = {"aarch64": "armv8-a", "x86_64": "x86-64"}


def _known(arch, option, value):
    """Whether the tool knows the value of -mcpu= or -march=: a name, or a pair of cores joined by a dot, and +extensions behind it."""
    name = value.split("+")[0]
    if arch == "aarch64" and option == "march":
        return name in _VERSIONS
    if name in _CPUS[arch]:
        return True
    # x86-64's names have no dots, and armv8.2-a is not a pair.
    return arch == "aarch64" and "." in name and all(part in _CPUS[arch] for part in name.split("."))


def words(ccargs, arch):
    """Answers (words, warnings): those words of TUNE_CCARGS that choose instructions and that the tool knows, and a sentence for
    each that it does not. `arch` is TARGET_ARCH; for one that the tool makes no code for, there are no words and one warning."""
    if arch not in _CPUS:
        return [], ["onnxc makes no code for %s, only for aarch64 and x86_64" % arch]
    given = (ccargs or "").split()
    for word in ("-mx32", "-m32", "-mabi=ilp32", "-mbig-endian"):
        if word in given:
            return [], ["onnxc makes no code for %s, only for 64-bit pointers and little-endian machines" % word]
    kept, warnings = [], []
    for word in given:
        choice = re.match(r"-(mcpu|march|mtune)=(.+)$", word)
        if choice:
            option, value = choice.groups()
            if _known(arch, option, value):
                kept.append(word)
            elif option != "mtune":
                warnings.append(
                    "onnxc does not know %s: code for the base level %s is made; name the nearest CPU in ONNXC_CPU" % (word, _BASE[arch]))
        elif re.match(r"-mbranch-protection=|-fcf-protection|-m(no-)?(sse|ssse|avx|fma|f16c|bmi|lzcnt|popcnt)|-mgeneral-regs-only$", word):
            kept.append(word)
    return kept, warnings


def cflags(ccargs, arch):
    """The words in one string, for --target-cflags."""
    return " ".join(words(ccargs, arch)[0])


def prefix(name):
    """A C identifier from a recipe's name."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower()
    return "m_" + name if name[:1].isdigit() else name

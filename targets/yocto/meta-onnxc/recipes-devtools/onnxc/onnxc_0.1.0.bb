require onnxc.inc

LIC_FILES_CHKSUM = "\
    file://LICENSE-MIT;md5=1944c4f3f5544403ea5c175a57e07d71 \
    file://LICENSE-APACHE;md5=22a53954e4e0ec258dfce4391e905dac \
"

require ${BPN}-crates.inc

# The commit that the layer is part of, so that tool and class always fit. A distribution that pins sets both, for example
#   ONNXC_GIT = "git://github.com/onnxc/onnxc;protocol=https;branch=main"
#   SRCREV:pn-onnxc-native = "<commit>"
ONNXC_CHECKOUT := "${@os.path.normpath('${THISDIR}/../../../../..')}"
ONNXC_GIT ?= "git://${ONNXC_CHECKOUT};protocol=file;usehead=1;nobranch=1"
SRC_URI += "${ONNXC_GIT};destsuffix=${BP}"
# Where the checkout lies says nothing of what is in it.
SRC_URI[vardepsexclude] += "ONNXC_CHECKOUT"
# nooelint: oelint.vars.autorev
SRCREV ?= "${AUTOREV}"

# Older series unpack to WORKDIR.
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}/${BP}"

inherit cargo cargo-update-recipe-crates

# The tool alone, of all packages of the workspace.
CARGO_BUILD_FLAGS:append = " --package onnxc --bin onnxc"

# nooelint: oelint.task.noanonpython
python () {
    series = (d.getVar("RUSTVERSION") or "").rstrip("%").split(".")
    if len(series) >= 2 and [int(n) for n in series[:2]] < [1, 94]:
        raise bb.parse.SkipRecipe("it takes Rust 1.94, and this series has %s: see onnxc-bin-native" % ".".join(series))
}

BBCLASSEXTEND = "native nativesdk"

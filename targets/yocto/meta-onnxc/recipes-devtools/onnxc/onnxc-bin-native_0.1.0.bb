# The tool prebuilt, for series whose Rust is older than it takes: ONNXC_BIN_URI names a static executable.
require onnxc.inc

# nooelint: oelint.var.licenseremotefile
LIC_FILES_CHKSUM = "\
    file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302 \
    file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10 \
"

PROVIDES = "onnxc-native"

# A mirror's URL with ;sha256sum=.. behind it, or file:///path/to/onnxc; ;downloadfilename=onnxc where the name is another.
ONNXC_BIN_URI ?= ""
SRC_URI = "${ONNXC_BIN_URI}"

# Older series unpack to WORKDIR.
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

inherit_defer native

# It may be stripped, and is for this machine whatever it was linked by.
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_SYSROOT_STRIP = "1"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    file=$(find ${S} -type f -name onnxc ! -path '*/recipe-sysroot*' ! -path '*/image/*' | head -n 1)
    [ -n "$file" ] || bbfatal "ONNXC_BIN_URI brought no file with the name onnxc"
    install -D -m 0755 "$file" ${D}${bindir}/onnxc
}

# nooelint: oelint.task.noanonpython
python () {
    if not d.getVar("ONNXC_BIN_URI"):
        raise bb.parse.SkipRecipe("ONNXC_BIN_URI is not set: it names a static executable of onnxc for the machine that builds")
}

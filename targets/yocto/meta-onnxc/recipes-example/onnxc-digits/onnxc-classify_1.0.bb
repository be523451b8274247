# nooelint: oelint.var.bbclassextend
SUMMARY = "Says which digit a picture shows"
DESCRIPTION = "Example of a program that links a compiled model, and finds it by pkg-config."
HOMEPAGE = "https://github.com/onnxc/onnxc"
BUGTRACKER = "https://github.com/onnxc/onnxc/issues"
SECTION = "console/utils"
CVE_PRODUCT = "onnxc"
LICENSE = "MIT"
# nooelint: oelint.var.licenseremotefile
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

DEPENDS = "onnxc-digits"

SRC_URI = "file://main.cpp"

# Older series unpack to WORKDIR.
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
B = "${WORKDIR}/build"

inherit pkgconfig

COMPATIBLE_HOST = "(aarch64|x86_64).*-linux(-musl)?$"

do_configure[noexec] = "1"

do_compile() {
    ${CXX} ${CXXFLAGS} ${LDFLAGS} -std=c++17 $(pkg-config --cflags digits) -o ${B}/onnxc-classify ${S}/main.cpp $(pkg-config --libs digits)
}

do_install() {
    install -D -m 0755 ${B}/onnxc-classify ${D}${bindir}/onnxc-classify
}

# Its weights; the library is inside.
RDEPENDS:${PN} = "onnxc-digits"

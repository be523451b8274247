# nooelint: oelint.bbclass.underscores
# Compiles an ONNX model to a static library with a C and a C++ header and a .pc file.
#
#   SRC_URI = "file://digits.onnx"
#   ONNXC_MODEL = "digits.onnx"
#   inherit onnxc-model
#
# All that is read must come by SRC_URI (external data and calibration data too): that makes the signatures right, and only do_fetch
# uses the network.

# The model, below ${S}.
ONNXC_MODEL ??= ""
# What its symbols, macros and files are called: a C identifier.
ONNXC_PREFIX ??= "${@onnxc.tune.prefix(d.getVar('BPN'))}"
# A CPU of `onnxc --print target-cpus`, or several parted by commas for one object that chooses when it runs. Empty: the tune's.
ONNXC_CPU ??= ""
# Features to switch on or off: +dotprod,-fp16
# nooelint: oelint.vars.mispell.unknown
ONNXC_FEATURES ??= ""
# int8, and the data that ranges are measured on, below ${S}.
ONNXC_QUANTIZE ??= ""
ONNXC_CALIBRATION ??= ""
# Free sizes: "batch=1 seq=1..128"
ONNXC_DIMS ??= ""
# embed, file (installed to ${datadir}/onnxc), or section=NAME
ONNXC_WEIGHTS ??= "embed"
# Accelerators; the package is of the machine then, not of the tune.
ONNXC_NPU ??= ""
# Further words for the tool.
ONNXC_FLAGS ??= ""

DEPENDS:append = " onnxc-native"
COMPATIBLE_HOST = "(aarch64|x86_64).*-linux(-musl)?$"

# Older series unpack to WORKDIR.
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
B = "${WORKDIR}/onnxc"

PACKAGE_ARCH = "${@d.getVar('MACHINE_ARCH') if d.getVar('ONNXC_NPU') else d.getVar('TUNE_PKGARCH')}"

# nooelint: oelint.vars.mispell.unknown
ONNXC_TUNE_CFLAGS = "${@onnxc.tune.cflags(d.getVar('TUNE_CCARGS'), d.getVar('TARGET_ARCH'))}"

# All words but paths.
def onnxc_words(d):
    words = ["--target", d.getVar("TARGET_SYS"), "--prefix", d.getVar("ONNXC_PREFIX")]
    def given(name, option):
        value = (d.getVar(name) or "").strip()
        if value:
            words.append("%s=%s" % (option, value))
    given("ONNXC_TUNE_CFLAGS", "--target-cflags")
    given("ONNXC_CPU", "--target-cpu")
    given("ONNXC_FEATURES", "--target-feature")
    given("ONNXC_QUANTIZE", "--quantize")
    for dim in (d.getVar("ONNXC_DIMS") or "").split():
        words.append("--dim=" + dim)
    for npu in (d.getVar("ONNXC_NPU") or "").split():
        words.append("--npu=" + npu)
    return " ".join("'%s'" % w for w in words)

ONNXC_WORDS = "${@onnxc_words(d)}"

onnxc_check[doc] = "Says what is missing in a model's recipe, and which CPU is not known"
python onnxc_check() {
    if not d.getVar("ONNXC_MODEL"):
        bb.fatal("ONNXC_MODEL is not set: it names the .onnx file that comes by SRC_URI")
    if d.getVar("ONNXC_CALIBRATION") and not d.getVar("ONNXC_QUANTIZE"):
        bb.fatal("ONNXC_CALIBRATION is set, and ONNXC_QUANTIZE is not")
    if not d.getVar("ONNXC_CPU"):
        for warning in onnxc.tune.words(d.getVar("TUNE_CCARGS"), d.getVar("TARGET_ARCH"))[1]:
            bb.warn(warning)
}

do_configure[noexec] = "1"

do_compile[prefuncs] += "onnxc_check"
do_compile[cleandirs] = "${B}"
do_compile() {
    set -- ${ONNXC_WORDS} ${ONNXC_FLAGS}
    if [ -n "${ONNXC_CALIBRATION}" ]; then
        set -- "$@" --calibration "${S}/${ONNXC_CALIBRATION}"
    fi
    case "${ONNXC_WEIGHTS}" in
        file) set -- "$@" --weights "file=${B}/${ONNXC_PREFIX}.weights" ;;
        *) set -- "$@" --weights "${ONNXC_WEIGHTS}" ;;
    esac
    onnxc compile "${S}/${ONNXC_MODEL}" -o "${B}/lib${ONNXC_PREFIX}.a" --emit staticlib,header,hpp,report --color never "$@"
    # Variables of pkg-config, not of bitbake.
    dollar='$'
    printf '%s\n' \
        "prefix=${prefix}" \
        "libdir=${libdir}" \
        "includedir=${includedir}" \
        "weights=${datadir}/onnxc/${ONNXC_PREFIX}.weights" \
        "" \
        "Name: ${ONNXC_PREFIX}" \
        "Description: ${SUMMARY}" \
        "Version: ${PV}" \
        "Cflags: -I$dollar{includedir}" \
        "Libs: -L$dollar{libdir} -l${ONNXC_PREFIX}" > "${B}/${ONNXC_PREFIX}.pc"
}

do_install() {
    install -d ${D}${libdir}/pkgconfig ${D}${includedir} ${D}${datadir}/onnxc
    install -m 0644 ${B}/lib${ONNXC_PREFIX}.a ${D}${libdir}
    install -m 0644 ${B}/${ONNXC_PREFIX}.h ${B}/${ONNXC_PREFIX}.hpp ${D}${includedir}
    install -m 0644 ${B}/${ONNXC_PREFIX}.pc ${D}${libdir}/pkgconfig
    install -m 0644 ${B}/${ONNXC_PREFIX}.json ${D}${datadir}/onnxc
    if [ "${ONNXC_WEIGHTS}" = file ]; then
        install -m 0644 ${B}/${ONNXC_PREFIX}.weights ${D}${datadir}/onnxc
    fi
}

# The weights, where they are a file, are all that a target needs to run; with them in the library it needs nothing.
FILES:${PN} += "${datadir}/onnxc/*.weights"
FILES:${PN}-dev += "${datadir}/onnxc/*.json"
ALLOW_EMPTY:${PN} = "1"

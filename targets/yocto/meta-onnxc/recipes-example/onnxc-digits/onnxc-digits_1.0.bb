# nooelint: oelint.var.bbclassextend
SUMMARY = "A model that reads handwritten digits of 8x8 pixels, compiled"
DESCRIPTION = "Example of the class onnxc-model: a static library with headers, its weights in a file of their own."
HOMEPAGE = "https://github.com/onnxc/onnxc"
BUGTRACKER = "https://github.com/onnxc/onnxc/issues"
SECTION = "libs"
CVE_PRODUCT = "onnxc"
LICENSE = "MIT"
# nooelint: oelint.var.licenseremotefile
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "file://digits.onnx"

inherit onnxc-model

ONNXC_MODEL = "digits.onnx"
ONNXC_PREFIX = "digits"
ONNXC_WEIGHTS = "file"

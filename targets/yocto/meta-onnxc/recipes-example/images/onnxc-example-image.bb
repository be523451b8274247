SUMMARY = "A small image with the digit classifier and its weights"
DESCRIPTION = "core-image-minimal with onnxc-classify: run `onnxc-classify /usr/share/onnxc/digits.weights < picture.pgm`."
HOMEPAGE = "https://github.com/onnxc/onnxc"
BUGTRACKER = "https://github.com/onnxc/onnxc/issues"
SECTION = "images"
CVE_PRODUCT = "onnxc"
LICENSE = "MIT"

# nooelint: oelint.file.requirenotfound
require recipes-core/images/core-image-minimal.bb

IMAGE_INSTALL += "onnxc-classify"

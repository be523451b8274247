# The CMake package of onnxc: find_package(onnxc CONFIG) finds the tool and defines onnxc_add_model() and onnxc_install_model().
#
# These files need no installing: point onnxc_DIR or CMAKE_PREFIX_PATH at them. The tool is looked for beside them, then on the PATH;
# -DONNXC_EXECUTABLE=/path/to/onnxc names it. It is a program of the machine that builds, so a toolchain file's sysroot is not searched.

cmake_minimum_required(VERSION 3.20...3.31)

find_program(ONNXC_EXECUTABLE onnxc
  HINTS "${CMAKE_CURRENT_LIST_DIR}/../../../bin"
  NO_CMAKE_FIND_ROOT_PATH
  DOC "The model compiler onnxc, for the machine that builds")

set(onnxc_FOUND FALSE)
if(NOT ONNXC_EXECUTABLE)
  set(onnxc_NOT_FOUND_MESSAGE "the program onnxc is not on the PATH: set ONNXC_EXECUTABLE to where it is")
  return()
endif()
execute_process(COMMAND "${ONNXC_EXECUTABLE}" --version
  RESULT_VARIABLE _onnxc_result OUTPUT_VARIABLE _onnxc_said ERROR_VARIABLE _onnxc_said OUTPUT_STRIP_TRAILING_WHITESPACE)
if(NOT _onnxc_result EQUAL 0)
  set(onnxc_NOT_FOUND_MESSAGE "${ONNXC_EXECUTABLE} does not run here (${_onnxc_result}): it must be built for this machine, not for the target")
  return()
endif()
string(REGEX REPLACE "^onnxc ([0-9]+\\.[0-9]+)\\..*" "\\1" _onnxc_series "${_onnxc_said}")
string(FIND "${onnxc_VERSION}" "${_onnxc_series}." _onnxc_at)
if(NOT _onnxc_at EQUAL 0)
  set(onnxc_NOT_FOUND_MESSAGE "${ONNXC_EXECUTABLE} is \"${_onnxc_said}\", and this package is for onnxc ${onnxc_VERSION}")
  return()
endif()
unset(_onnxc_result)
unset(_onnxc_said)
unset(_onnxc_series)
unset(_onnxc_at)

if(NOT TARGET onnxc::onnxc)
  add_executable(onnxc::onnxc IMPORTED GLOBAL)
  set_target_properties(onnxc::onnxc PROPERTIES IMPORTED_LOCATION "${ONNXC_EXECUTABLE}")
endif()

include("${CMAKE_CURRENT_LIST_DIR}/onnxcTarget.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/onnxcAddModel.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/onnxcInstallModel.cmake")
set(onnxc_FOUND TRUE)

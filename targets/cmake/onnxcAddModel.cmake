# onnxc_add_model(<target> MODEL <m.onnx> ...): a static library of a compiled model, with its headers.
#
#   MODEL file          the model; relative to the current source folder. May be made by another command
#   PREFIX name         what its symbols, macros and headers are called; the target's name if absent
#   TARGET_CPU cpu..    CPU, or several for one object that chooses when it runs; else the C compiler's flags decide
#   FEATURES list..     features on or off: +dotprod -fma
#   QUANTIZE int8       quantize first, by ...
#   CALIBRATION path    ... this folder or .npz file
#   DIMS name=n..       fix or bound free sizes: batch=1 seq=1..128
#   INPUTS name:n,n..   fix the shapes of inputs
#   WEIGHTS where       embed (default), file, file=NAME, or section=NAME
#   NPU name..          let accelerators compute what they can
#   THREADS n           threads that loops are cut for; 1 if absent
#   OPT level           0, 1, 2 (default), 3, s
#   REPORT file         where the report (JSON) goes; relative to the current binary folder
#   VERSION v           version in the .pc file; the project's if absent
#   FLAGS word..        further words for the tool
#
# Variables: ONNXC_TARGET (triple), ONNXC_TARGET_CPU (default of TARGET_CPU), ONNXC_FLAGS (further words for all models).
# The target has the alias onnxc::<target>, and the properties ONNXC_PREFIX, ONNXC_OBJECT, ONNXC_REPORT and ONNXC_WEIGHTS.
function(onnxc_add_model target)
  set(who "onnxc_add_model(${target})")
  set(one MODEL PREFIX QUANTIZE CALIBRATION WEIGHTS THREADS OPT REPORT VERSION)
  set(many TARGET_CPU FEATURES DIMS INPUTS NPU FLAGS)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "${one}" "${many}")
  if(DEFINED arg_UNPARSED_ARGUMENTS)
    list(JOIN arg_UNPARSED_ARGUMENTS " " words)
    list(JOIN one " " known_one)
    list(JOIN many " " known_many)
    message(FATAL_ERROR "${who}: not understood: ${words}\nIt knows ${known_one} ${known_many}")
  endif()
  if(DEFINED arg_KEYWORDS_MISSING_VALUES)
    list(JOIN arg_KEYWORDS_MISSING_VALUES " " words)
    message(FATAL_ERROR "${who}: nothing stands behind ${words}")
  endif()
  if(TARGET "${target}")
    message(FATAL_ERROR "${who}: there is another target of this name")
  endif()
  get_property(languages GLOBAL PROPERTY ENABLED_LANGUAGES)
  if("C" IN_LIST languages)
    set(lang C)
  elseif("CXX" IN_LIST languages)
    set(lang CXX)
  else()
    message(FATAL_ERROR "${who}: the project must have the language C or CXX")
  endif()

  # Files.
  if(NOT DEFINED arg_MODEL)
    message(FATAL_ERROR "${who}: MODEL is missing: the .onnx file")
  endif()
  cmake_path(ABSOLUTE_PATH arg_MODEL BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" NORMALIZE OUTPUT_VARIABLE model)
  _onnxc_demand("${who}" "MODEL" "${model}")
  if(IS_DIRECTORY "${model}")
    message(FATAL_ERROR "${who}: MODEL is a folder: ${model}")
  endif()
  if(NOT DEFINED arg_PREFIX)
    string(MAKE_C_IDENTIFIER "${target}" arg_PREFIX)
  endif()
  if(NOT arg_PREFIX MATCHES "^[A-Za-z_][A-Za-z0-9_]*$")
    message(FATAL_ERROR "${who}: PREFIX \"${arg_PREFIX}\" is no C identifier")
  endif()
  set(prefix "${arg_PREFIX}")
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/onnxc/${target}")
  file(MAKE_DIRECTORY "${folder}/include")
  set(object "${folder}/${prefix}.o")
  set(headers "${folder}/include/${prefix}.h" "${folder}/include/${prefix}.hpp")
  set(report "${folder}/${prefix}.json")
  if(DEFINED arg_REPORT)
    cmake_path(ABSOLUTE_PATH arg_REPORT BASE_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}" NORMALIZE OUTPUT_VARIABLE report)
    cmake_path(GET report PARENT_PATH parent)
    file(MAKE_DIRECTORY "${parent}")
  endif()
  set(outputs "${object}" ${headers} "${report}")
  set(depends "${model}" "${ONNXC_EXECUTABLE}")

  # Words for the tool.
  _onnxc_triple(triple "${who}")
  _onnxc_cpu_flags(cpu_flags)
  set(words --target "${triple}" --prefix "${prefix}")
  if(NOT cpu_flags STREQUAL "")
    list(APPEND words "--target-cflags=${cpu_flags}")
  endif()
  if(NOT DEFINED arg_TARGET_CPU AND ONNXC_TARGET_CPU)
    set(arg_TARGET_CPU ${ONNXC_TARGET_CPU})
  endif()
  if(DEFINED arg_TARGET_CPU)
    list(JOIN arg_TARGET_CPU "," cpus)
    list(APPEND words --target-cpu "${cpus}")
  endif()
  if(DEFINED arg_FEATURES)
    list(JOIN arg_FEATURES "," features)
    list(APPEND words "--target-feature=${features}")
  endif()
  if(DEFINED arg_QUANTIZE)
    list(APPEND words --quantize "${arg_QUANTIZE}")
  elseif(DEFINED arg_CALIBRATION)
    message(FATAL_ERROR "${who}: CALIBRATION without QUANTIZE")
  endif()
  if(DEFINED arg_CALIBRATION)
    cmake_path(ABSOLUTE_PATH arg_CALIBRATION BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" NORMALIZE OUTPUT_VARIABLE data)
    _onnxc_demand("${who}" "CALIBRATION" "${data}")
    list(APPEND words --calibration "${data}")
    # What is in a folder is known from the depfile.
    if(NOT IS_DIRECTORY "${data}")
      list(APPEND depends "${data}")
    endif()
  endif()
  foreach(dim IN LISTS arg_DIMS)
    if(NOT dim MATCHES "^.+=[0-9]+(\\.\\.[0-9]+)?$")
      message(FATAL_ERROR "${who}: DIMS \"${dim}\" is not NAME=N or NAME=LO..HI")
    endif()
    list(APPEND words --dim "${dim}")
  endforeach()
  foreach(input IN LISTS arg_INPUTS)
    list(APPEND words --input "${input}")
  endforeach()
  foreach(npu IN LISTS arg_NPU)
    list(APPEND words --npu "${npu}")
  endforeach()
  set(weights "")
  if(DEFINED arg_WEIGHTS)
    if(arg_WEIGHTS STREQUAL "file")
      set(weights "${folder}/${prefix}.weights")
    elseif(arg_WEIGHTS MATCHES "^file=([^/]+)$")
      set(weights "${folder}/${CMAKE_MATCH_1}")
    elseif(NOT arg_WEIGHTS MATCHES "^(embed|section=.+)$")
      message(FATAL_ERROR "${who}: WEIGHTS \"${arg_WEIGHTS}\" is not embed, file, file=NAME or section=NAME")
    endif()
    if(weights STREQUAL "")
      list(APPEND words --weights "${arg_WEIGHTS}")
    else()
      list(APPEND words --weights "file=${weights}")
      list(APPEND outputs "${weights}")
    endif()
  endif()
  if(DEFINED arg_THREADS)
    list(APPEND words --threads "${arg_THREADS}")
  endif()
  if(DEFINED arg_OPT)
    list(APPEND words "-O${arg_OPT}")
  endif()
  list(APPEND words ${ONNXC_FLAGS} ${arg_FLAGS})

  # Make does not see that a command has changed, so that it is an input of the command too.
  list(JOIN words "\n" text)
  file(CONFIGURE OUTPUT "${folder}/${prefix}.words" CONTENT "@text@\n" @ONLY)
  list(GET headers 0 c_header)
  list(GET headers 1 cpp_header)
  add_custom_command(
    OUTPUT ${outputs}
    COMMAND onnxc::onnxc compile "${model}" -o "${object}"
      --emit "obj,header=${c_header},hpp=${cpp_header},report=${report}"
      -MD -MF "${folder}/${prefix}.d" -MT "${object}" ${words}
    DEPENDS ${depends} "${folder}/${prefix}.words"
    DEPFILE "${folder}/${prefix}.d"
    COMMENT "Compiling the model ${prefix} for ${triple}"
    VERBATIM)

  add_library(${target} STATIC "${object}" ${headers})
  add_library(onnxc::${target} ALIAS ${target})
  set_source_files_properties("${object}" PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  target_include_directories(${target} PUBLIC "$<BUILD_INTERFACE:${folder}/include>")
  set_target_properties(${target} PROPERTIES
    LINKER_LANGUAGE ${lang}
    PUBLIC_HEADER "${headers}"
    ONNXC_PREFIX "${prefix}"
    ONNXC_OBJECT "${object}"
    ONNXC_REPORT "${report}"
    ONNXC_WEIGHTS "${weights}")
  if(NOT DEFINED arg_VERSION)
    set(arg_VERSION "${PROJECT_VERSION}")
  endif()
  if(arg_VERSION STREQUAL "")
    set(arg_VERSION 0)
  endif()
  set_target_properties(${target} PROPERTIES ONNXC_PC_VERSION "${arg_VERSION}")
endfunction()

# A file or folder that must be there, unless a command makes it.
function(_onnxc_demand who what path)
  get_source_file_property(made "${path}" GENERATED)
  if(NOT made AND NOT EXISTS "${path}")
    message(FATAL_ERROR "${who}: ${what}: there is no ${path}")
  endif()
endfunction()

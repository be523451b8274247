# A board with Cortex-A55 cores, for Debian's cross compiler. The model is compiled for the CPU that the flags name.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_C_FLAGS_INIT -mcpu=cortex-a55)
set(CMAKE_CXX_FLAGS_INIT -mcpu=cortex-a55)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)

# fl_traced(name SOURCES file...)
#
# The sources compiled a second time, for recorder A (watch.h): with the compiler's hooks before each load and store, but
# without the library that they are meant for; flush instructions told instead of executed; memcpy, locks and the like
# renamed to those of hooks_libc.h. What is linked is the interface library <name>, all of it.
find_program(FL_OBJCOPY NAMES objcopy REQUIRED)

set(traced_symbols memcpy memmove memset memcmp bcmp)
set(traced_renames "")
foreach(symbol IN LISTS traced_symbols)
    list(APPEND traced_renames --redefine-sym ${symbol}=crash_${symbol})
endforeach()
foreach(call mutex_lock mutex_trylock mutex_unlock rwlock_rdlock rwlock_wrlock rwlock_unlock
             cond_wait cond_timedwait cond_signal cond_broadcast)
    list(APPEND traced_renames --redefine-sym pthread_${call}=crash_${call})
endforeach()
list(APPEND traced_renames --redefine-sym nanosleep=crash_nanosleep --redefine-sym pthread_self=crash_self)

if(CMAKE_C_COMPILER_ID STREQUAL Clang)
    # Each word is an option of its own to the shell that runs the compiler.
    set(traced_flags -fsanitize=thread "SHELL:-mllvm -tsan-distinguish-volatile"
                     "SHELL:-mllvm -tsan-instrument-func-entry-exit=0" -fno-builtin)
else()
    set(traced_flags -fsanitize=thread --param=tsan-distinguish-volatile=1
                     --param=tsan-instrument-func-entry-exit=0 -fno-builtin)
endif()

function(fl_traced name)
    cmake_parse_arguments(ARG "" "" "SOURCES" ${ARGN})
    add_library(${name}_hooked STATIC ${ARG_SOURCES})
    target_compile_options(${name}_hooked PRIVATE
        -fno-strict-aliasing -fno-sanitize=all ${traced_flags}
        -include ${CMAKE_CURRENT_SOURCE_DIR}/hooks_flush.h)
    target_compile_definitions(${name}_hooked PRIVATE _GNU_SOURCE FL_VERSION_TEXT="${PROJECT_VERSION}")
    target_include_directories(${name}_hooked BEFORE PRIVATE
        ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/base/include ${CMAKE_SOURCE_DIR}/storage/include)
    target_link_libraries(${name}_hooked PUBLIC PkgConfig::XXHASH Threads::Threads)
    # Its flags are no concern of tools that read the sources; those find them among the shipped ones.
    set_target_properties(${name}_hooked PROPERTIES POSITION_INDEPENDENT_CODE OFF EXPORT_COMPILE_COMMANDS OFF)

    set(archive ${CMAKE_CURRENT_BINARY_DIR}/lib${name}.a)
    add_custom_command(OUTPUT ${archive}
        COMMAND ${FL_OBJCOPY} ${traced_renames} $<TARGET_FILE:${name}_hooked> ${archive}
        DEPENDS ${name}_hooked VERBATIM)
    add_custom_target(${name}_archive DEPENDS ${archive})
    add_library(${name} INTERFACE)
    add_dependencies(${name} ${name}_archive)
    target_link_options(${name} INTERFACE -Wl,--whole-archive ${archive} -Wl,--no-whole-archive)
    set_property(TARGET ${name} APPEND PROPERTY INTERFACE_LINK_DEPENDS ${archive})
    target_link_libraries(${name} INTERFACE PkgConfig::XXHASH Threads::Threads)
endfunction()

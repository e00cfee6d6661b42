# fl_module(name [LIBRARY lib...] [DEPENDS mod...] [LINK lib...] [DIR dir] [SOURCES file...])
#
# One module: a static library fl_<name> of every .c in its folder (or SOURCES, relative to it).
# Headers are included by their path from the top of the tree: "storage/log/log.h".
# A folder without sources yet is an interface library, so that what depends on it configures.
# LIBRARY faultline, faultline-client or both makes it a part of what is installed: see install.cmake.
function(fl_module name)
    cmake_parse_arguments(ARG "" "DIR" "LIBRARY;DEPENDS;LINK;SOURCES" ${ARGN})
    if(NOT ARG_DIR)
        set(ARG_DIR ${CMAKE_CURRENT_SOURCE_DIR}/${name})
    endif()
    if(ARG_SOURCES)
        list(TRANSFORM ARG_SOURCES PREPEND ${ARG_DIR}/)
    else()
        file(GLOB ARG_SOURCES CONFIGURE_DEPENDS ${ARG_DIR}/*.c)
    endif()
    list(TRANSFORM ARG_DEPENDS PREPEND fl_)
    if(NOT ARG_SOURCES)
        add_library(fl_${name} INTERFACE)
        target_link_libraries(fl_${name} INTERFACE fl_flags ${ARG_DEPENDS} ${ARG_LINK})
        return()
    endif()
    add_library(fl_${name} STATIC ${ARG_SOURCES})
    target_link_libraries(fl_${name} PUBLIC fl_flags ${ARG_DEPENDS} ${ARG_LINK})
    set_property(TARGET fl_${name} PROPERTY POSITION_INDEPENDENT_CODE ON)
    foreach(library IN LISTS ARG_LIBRARY)
        set_property(GLOBAL APPEND PROPERTY FL_MODULES_${library} fl_${name})
        set_property(GLOBAL APPEND PROPERTY FL_LINKS_${library} ${ARG_LINK})
    endforeach()
endfunction()

# fl_test(name LABEL label... SOURCES file... [LINK lib...] [TIMEOUT seconds] [ARGS arg...])
#
# One test program, linked with cmocka and tests/lib. Exit 77 is a skip, with the reason printed.
function(fl_test name)
    cmake_parse_arguments(ARG "" "TIMEOUT" "LABEL;SOURCES;LINK;ARGS" ${ARGN})
    if(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 120)
    endif()
    if(FL_SANITIZE)
        math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 4")
    endif()
    add_executable(test_${name} ${ARG_SOURCES})
    target_link_libraries(test_${name} PRIVATE ${ARG_LINK} fl_testlib PkgConfig::CMOCKA)
    add_test(NAME ${name} COMMAND test_${name} ${ARG_ARGS})
    set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABEL}" TIMEOUT ${ARG_TIMEOUT}
                                            SKIP_RETURN_CODE 77)
endfunction()

# fl_fuzz(name SOURCES file... CORPUS dir [LINK lib...] [SECONDS n])
#
# One fuzz target: a file that defines LLVMFuzzerTestOneInput (tests/lib/fuzz/fuzz.h) and a folder of
# inputs. Preset fuzz links libFuzzer and searches for SECONDS (60), label fuzz; everywhere else the
# corpus and random changes to it are run through in a moment, label fuzz-smoke.
function(fl_fuzz name)
    cmake_parse_arguments(ARG "" "CORPUS;SECONDS" "SOURCES;LINK" ${ARGN})
    if(NOT ARG_SECONDS)
        set(ARG_SECONDS 60)
    endif()
    get_filename_component(corpus ${ARG_CORPUS} ABSOLUTE)
    add_executable(fuzz_${name} ${ARG_SOURCES})
    target_link_libraries(fuzz_${name} PRIVATE ${ARG_LINK} fl_testlib)
    if(FL_SANITIZE MATCHES fuzzer)
        target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
        set(found ${CMAKE_CURRENT_BINARY_DIR}/corpus_${name})
        file(MAKE_DIRECTORY ${found})
        add_test(NAME fuzz_${name} COMMAND fuzz_${name} -max_total_time=${ARG_SECONDS}
                                           -print_final_stats=1 ${found} ${corpus})
        math(EXPR timeout "${ARG_SECONDS} + 60")
        set_tests_properties(fuzz_${name} PROPERTIES LABELS fuzz TIMEOUT ${timeout})
    else()
        target_sources(fuzz_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/lib/fuzz/main.c)
        add_test(NAME fuzz_${name} COMMAND fuzz_${name} ${corpus})
        set_tests_properties(fuzz_${name} PROPERTIES LABELS fuzz-smoke TIMEOUT 120)
    endif()
endfunction()

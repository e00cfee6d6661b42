# The installed libraries, headers and packages. Included last, when all modules are known.
#
# A library is the objects of every module that fl_module() was told is a part of it. In the archive they
# are linked into one object first and all hidden symbols made local: like the shared library it shows nothing
# but FL_API, so that a program's own names can't collide with ours.
include(CMakePackageConfigHelpers)
find_program(FL_OBJCOPY NAMES objcopy REQUIRED)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/faultline)
file(RELATIVE_PATH FL_PC_PREFIX /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p)

# fl_library(name target description header_dir...)
#
# lib<name>.a and lib<name>.so of the modules registered for <name>, exported as faultline::<target> and
# faultline::<target>_static, with <name>.pc.
function(fl_library name target description)
    get_property(modules GLOBAL PROPERTY FL_MODULES_${name})
    get_property(links GLOBAL PROPERTY FL_LINKS_${name})
    list(LENGTH modules count)
    if(count LESS 2) # base alone: the library isn't there yet
        return()
    endif()
    list(TRANSFORM modules REPLACE "(.+)" "$<TARGET_OBJECTS:\\1>" OUTPUT_VARIABLE objects)
    list(REMOVE_DUPLICATES links)

    set(merged ${CMAKE_BINARY_DIR}/lib/${name}_merged.o)
    file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
    add_custom_command(
        OUTPUT ${merged}
        COMMAND ${CMAKE_C_COMPILER} -r -nostdlib -o ${merged} ${objects}
        COMMAND ${FL_OBJCOPY} --localize-hidden ${merged}
        DEPENDS ${objects} COMMAND_EXPAND_LISTS VERBATIM)
    set_source_files_properties(${merged} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
    add_library(${target}_static STATIC ${merged})
    add_library(${target} SHARED ${objects})
    set_target_properties(${target} PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION 0
                                               LINK_OPTIONS -Wl,-z,defs)
    foreach(library ${target} ${target}_static)
        set_target_properties(${library} PROPERTIES LINKER_LANGUAGE C OUTPUT_NAME ${name}
            ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib
            LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
        target_link_libraries(${library} PRIVATE ${links} Threads::Threads)
        target_include_directories(${library} INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
        foreach(folder IN LISTS ARGN)
            target_include_directories(${library} INTERFACE
                $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/${folder}>)
        endforeach()
    endforeach()
    install(TARGETS ${target} ${target}_static EXPORT faultline DESTINATION ${CMAKE_INSTALL_LIBDIR})
    foreach(folder IN LISTS ARGN)
        install(DIRECTORY ${folder}/faultline DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
                FILES_MATCHING PATTERN "*.h")
    endforeach()

    set(FL_PC_NAME ${name})
    set(FL_PC_DESCRIPTION ${description})
    set(FL_PC_REQUIRES "")
    set(FL_PC_LIBS -pthread)
    foreach(link IN LISTS links)
        if(link MATCHES "^PkgConfig::(.+)$")
            list(APPEND FL_PC_REQUIRES ${${CMAKE_MATCH_1}_MODULE_NAME})
            set_property(GLOBAL APPEND_STRING PROPERTY FL_CONFIG_REQUIRES
                "pkg_check_modules(${CMAKE_MATCH_1} REQUIRED QUIET IMPORTED_TARGET ${${CMAKE_MATCH_1}_MODULE_NAME})\n")
        else()
            list(APPEND FL_PC_LIBS -l${link})
        endif()
    endforeach()
    list(JOIN FL_PC_REQUIRES " " FL_PC_REQUIRES)
    list(JOIN FL_PC_LIBS " " FL_PC_LIBS)
    configure_file(${CMAKE_SOURCE_DIR}/cmake/library.pc.in ${CMAKE_BINARY_DIR}/${name}.pc @ONLY)
    install(FILES ${CMAKE_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()

fl_library(faultline faultline "An ordered, durable key-value store in one file"
           base/include storage/include)
fl_library(faultline-client client "A client for faultline-server and other servers that speak RESP"
           base/include client/include)

foreach(program faultline-server faultline-cli faultline-check faultline-bench faultline-modelfs)
    if(TARGET ${program})
        install(TARGETS ${program} DESTINATION ${CMAKE_INSTALL_BINDIR})
    endif()
endforeach()

get_property(FL_CONFIG_REQUIRES GLOBAL PROPERTY FL_CONFIG_REQUIRES)
configure_package_config_file(cmake/faultlineConfig.cmake.in ${CMAKE_BINARY_DIR}/faultlineConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/faultlineConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/faultlineConfig.cmake ${CMAKE_BINARY_DIR}/faultlineConfigVersion.cmake
        DESTINATION ${package_dir})
install(EXPORT faultline NAMESPACE faultline:: FILE faultlineTargets.cmake DESTINATION ${package_dir})

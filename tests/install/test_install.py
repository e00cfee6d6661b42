"""Goal:   a program outside this tree builds against what `cmake --install` puts down, as README says.
Method: install into a temporary prefix, which is not the one that was configured; build and run small
        programs through pkg-config (shared; with --static, no shared library there) and through find_package;
        look at the symbols, the soname, each header by itself as C and as C++, and each program's --version.

Arguments: BUILD CMAKE CC PROGRAM...; a PROGRAM is status, store, client, both or bin/NAME.
"""
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
STRICT = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror"]
# pkg-config module and CMake target of each library; the libraries of each program.
LIBRARIES = {"faultline": "faultline", "faultline-client": "client"}
USES = {"status": ["faultline"], "store": ["faultline"], "client": ["faultline-client"],
        "both": ["faultline", "faultline-client"]}
PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(outside C)
find_package(faultline 0.1 REQUIRED)
add_executable(app {source})
target_link_libraries(app PRIVATE {targets})
"""


def run(*args, **kwargs):
    """Standard output of a command; its failure is the test's, with all that it printed."""
    result = subprocess.run(args, check=False, text=True, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
    if result.returncode != 0:
        raise AssertionError(f"{' '.join(args)}: exit {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = cls.folder.name
        cls.prefix = os.path.join(cls.root, "prefix")
        run(CMAKE, "--install", BUILD, "--prefix", cls.prefix)
        cls.lib = os.path.dirname(glob.glob(f"{cls.prefix}/**/libfaultline.a", recursive=True)[0])

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def flags(self, lib, program, *more):
        env = dict(os.environ, PKG_CONFIG_PATH=os.path.join(lib, "pkgconfig"))
        return run("pkg-config", *more, "--cflags", "--libs", *USES[program], env=env).split()

    def assert_runs(self, app, **env):
        output = run(app, *self.arguments(app), env=dict(os.environ, **env), cwd=self.root)
        self.assertEqual(output, "outside program works\n")

    def arguments(self, app):
        return [app + ".store"] if "store" in os.path.basename(app) else []

    def test_pkg_config_links_the_shared_library(self):
        for program in SOURCES:
            with self.subTest(program):
                app = os.path.join(self.root, f"shared_{program}")
                run(CC, *STRICT, f"{HERE}/{program}.c", *self.flags(self.lib, program), "-o", app)
                self.assertIn("libfaultline", run("readelf", "-d", app))
                self.assert_runs(app, LD_LIBRARY_PATH=self.lib)

    def test_pkg_config_static_links_the_archive(self):
        lib = os.path.join(self.root, "static", os.path.relpath(self.lib, self.prefix))
        shutil.copytree(self.prefix, os.path.join(self.root, "static"), symlinks=True,
                        ignore=shutil.ignore_patterns("*.so*"))
        for program in SOURCES:
            with self.subTest(program):
                app = os.path.join(self.root, f"static_{program}")
                run(CC, *STRICT, f"{HERE}/{program}.c", *self.flags(lib, program, "--static"), "-o", app)
                self.assertNotIn("libfaultline", run("readelf", "-d", app))
                self.assert_runs(app)

    def test_find_package_links_either(self):
        for program in SOURCES:
            for suffix in ("", "_static"):
                with self.subTest(program + suffix):
                    folder = os.path.join(self.root, f"cmake_{program}{suffix}")
                    os.mkdir(folder)
                    targets = " ".join(f"faultline::{LIBRARIES[l]}{suffix}" for l in USES[program])
                    with open(f"{folder}/CMakeLists.txt", "w", encoding="utf-8") as file:
                        file.write(PROJECT.format(source=f"{HERE}/{program}.c", targets=targets))
                    run(CMAKE, "-G", "Ninja", "-S", folder, "-B", f"{folder}/build",
                        f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_C_COMPILER={CC}")
                    run(CMAKE, "--build", f"{folder}/build")
                    os.rename(f"{folder}/build/app", f"{folder}/build/{program}")
                    self.assert_runs(f"{folder}/build/{program}")

    def test_libraries_show_the_public_names_only(self):
        for library in glob.glob(f"{self.lib}/libfaultline*.so") + glob.glob(f"{self.lib}/libfaultline*.a"):
            with self.subTest(library):
                dynamic = ["-D"] if library.endswith(".so") else ["-g"]
                lines = run("nm", *dynamic, "--defined-only", library).splitlines()
                names = [line.split()[2] for line in lines if len(line.split()) == 3]
                self.assertIn("fl_last_error", names)
                self.assertEqual([name for name in names if not name.startswith("fl_")], [])

    def test_soname_is_version_0(self):
        dynamic = run("readelf", "-d", os.path.join(self.lib, "libfaultline.so"))
        self.assertIn("[libfaultline.so.0]", dynamic)

    def test_each_header_stands_alone_in_c_and_cpp(self):
        headers = glob.glob(f"{self.prefix}/include/faultline/*.h")
        self.assertTrue(headers)
        for header in headers:
            for language in (["-x", "c"] + STRICT, ["-x", "c++", "-std=c++17"] + STRICT[1:]):
                with self.subTest(header, language=language[1]):
                    run(CC, *language, f"-I{self.prefix}/include", "-include", header, "-fsyntax-only", "/dev/null")

    def test_programs_tell_their_version(self):
        for program in PROGRAMS:
            with self.subTest(program):
                self.assertIn("0.1", run(os.path.join(self.prefix, program), "--version"))


BUILD, CMAKE, CC = sys.argv[1:4]
SOURCES = [name for name in sys.argv[4:] if "/" not in name]
PROGRAMS = [name for name in sys.argv[4:] if "/" in name]
unittest.main(argv=sys.argv[:1])

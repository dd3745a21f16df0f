// Package browsertest holds no code, only tests: what a browser makes of the packages
// that face one, asked of a real Chromium. It is a module of its own so that nobody who
// uses the library gets the driver.
//
// The browser is the program that NEARCACHE_CHROMIUM names, or the first of chromium,
// chromium-browser and google-chrome in PATH. Without one the tests are skipped with a
// message that begins with "SKIPPED: "; with NEARCACHE_REQUIRE_BROWSER=1 they fail.
//
//	NEARCACHE_REQUIRE_BROWSER=1 go test -C browsertest -race -v ./...
//
// Screenshots that tests take are kept with -artifacts, in the folder _artifacts of
// -outputdir.
package browsertest

// Command nearcache looks into, changes and checks caches of
// github.com/nearcache/nearcache in a Redis: docs/cli.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9/logging"
)

// Exit codes of the program.
const (
	exitOK     = 0
	exitFound  = 1 // what was asked for is not so: no value, a problem, a broken promise
	exitFailed = 2 // the command could not do its work
)

// errFound ends a command whose output already says what was found.
var errFound = errors.New("found")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for what is cleaned up
	logging.Disable()            // the client's own: commands report errors themselves
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program, from its arguments to its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot(&terminal{in: stdin, out: stdout, err: stderr})
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	switch err := root.ExecuteContext(ctx); {
	case err == nil:
		return exitOK
	case errors.Is(err, errFound):
		return exitFound
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "nearcache: interrupted")
		return exitFailed
	default:
		fmt.Fprintln(stderr, "nearcache:", err)
		return exitFailed
	}
}

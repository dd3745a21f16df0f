package testcontainers

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/nearcache/nearcache/testcontainers/image"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
)

// settling bounds how long containers may take to start and find each other.
const settling = time.Minute

// flavour is a kind of server and where its image comes from.
type flavour struct {
	variable string // names another image
	standard string // is pulled
	local    string // is built of binary where the standard one cannot be had
	binary   string
	required bool // by NEARCACHE_REQUIRE_DOCKER
	find     func() (string, error)
}

var (
	redisServer = (&flavour{
		variable: "NEARCACHE_REDIS_IMAGE", standard: redistest.DefaultImage,
		local: redistest.LocalImage, binary: "redis-server", required: true,
	}).once()
	valkeyServer = (&flavour{
		variable: "NEARCACHE_VALKEY_IMAGE", standard: "valkey/valkey:8-alpine",
		local: "nearcache/valkey:local", binary: "valkey-server",
	}).once()
)

// once has the image found, pulled or built once only.
func (f *flavour) once() *flavour {
	f.find = sync.OnceValues(f.image)
	return f
}

// image returns an image that the engine has.
func (f *flavour) image() (string, error) {
	ctx := context.Background()
	if name := os.Getenv(f.variable); name != "" {
		return name, redistest.HaveImage(ctx, name)
	}
	pulled := redistest.HaveImage(ctx, f.standard)
	if pulled == nil {
		return f.standard, nil
	}
	if built := image.Build(ctx, f.local, f.binary); built != nil {
		return "", errors.Join(pulled, built)
	}
	return f.local, nil
}

// require returns the image of a flavour, or skips the test, or with
// NEARCACHE_REQUIRE_DOCKER=1 fails it.
func (f *flavour) require(t testing.TB) string {
	t.Helper()
	name, err := "", engine()
	required := true
	if err == nil {
		name, err = f.find()
		required = f.required
	}
	switch {
	case err != nil && required && os.Getenv("NEARCACHE_REQUIRE_DOCKER") == "1":
		t.Fatalf("no container of %s: %v", f.standard, err)
	case err != nil:
		t.Skipf("SKIPPED: no container of %s: %v", f.standard, err)
	}
	return name
}

// engine returns why no Docker engine can be used. Testcontainers' own reaper is
// switched off where its image cannot be had: redistest.RemoveAtEnd needs none.
var engine = sync.OnceValue(func() error {
	ctx := context.Background()
	if _, err := redistest.Docker(ctx, nil, "version", "--format", "{{.Server.Version}}"); err != nil {
		return err
	}
	if os.Getenv(noReaper) == "" && redistest.HaveImage(ctx, reaper) != nil {
		return os.Setenv(noReaper, "true")
	}
	return nil
})

const (
	noReaper = "TESTCONTAINERS_RYUK_DISABLED"
	reaper   = "testcontainers/ryuk:0.14.0" // of testcontainers-go v0.45.0, which does not export it
)

// run starts a container of this test.
func run(ctx context.Context, t testing.TB, name string, options ...testcontainers.ContainerCustomizer) testcontainers.Container {
	t.Helper()
	c, err := testcontainers.Run(ctx, name, append(options,
		testcontainers.WithName(redistest.RemoveAtEnd(t)), testcontainers.WithLogger(log.TestLogger(t)))...)
	if err != nil {
		t.Fatalf("container of %s: %v", name, err)
	}
	return c
}

// said returns what a container printed, for a server that does not answer.
func said(c testcontainers.Container) string {
	ctx, cancel := context.WithTimeout(context.Background(), settling) // a test's may be over
	defer cancel()
	logs, err := c.Logs(ctx)
	if err != nil {
		return err.Error()
	}
	defer logs.Close()
	text, err := io.ReadAll(logs)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

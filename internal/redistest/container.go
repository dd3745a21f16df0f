package redistest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// DefaultImage is the image of containers unless NEARCACHE_REDIS_IMAGE names
	// another.
	DefaultImage = "redis:7-alpine"
	// LocalImage is what testcontainers/image builds where nothing can be pulled.
	LocalImage = "nearcache/redis:local"
)

// startContainer returns a Redis server in a container, published to a loopback
// port, or why there is none. The container is removed with the test.
func startContainer(t testing.TB) (*Server, error) {
	t.Helper()
	image, err := findImage()
	if err != nil {
		return nil, err
	}
	name := RemoveAtEnd(t)
	if _, err := docker(time.Minute, "run", "--detach", "--name", name, "--publish", "127.0.0.1::6379",
		image, "--save", "", "--appendonly", "no", "--protected-mode", "no"); err != nil {
		return nil, err
	}
	addr, err := docker(time.Minute, "port", name, "6379/tcp")
	if err != nil {
		return nil, err
	}
	s := &Server{addr: addr, real: true}
	ctx, cancel := context.WithTimeout(context.Background(), settling)
	defer cancel()
	client := s.Client(t)
	return s, until(ctx, func() error { return client.Ping(ctx).Err() })
}

// findImage returns an image that the engine has, or has pulled within a minute.
var findImage = sync.OnceValues(func() (string, error) {
	if _, err := docker(5*time.Second, "version", "--format", "{{.Server.Version}}"); err != nil {
		return "", err
	}
	image, local := os.Getenv("NEARCACHE_REDIS_IMAGE"), ""
	if image == "" {
		image, local = DefaultImage, LocalImage
	}
	for _, ref := range []string{image, local} {
		if _, err := docker(5*time.Second, "image", "inspect", ref); ref != "" && err == nil {
			return ref, nil
		}
	}
	_, err := docker(time.Minute, "pull", "--quiet", image)
	return image, err
})

// docker runs the command line of the engine and returns what it printed.
func docker(timeout time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// RemoveAtEnd returns a name for a container that is removed when the test ends,
// or this process, however it ends. A shell sees to that, which waits for the end
// of a pipe that only this process holds open: kill -9 runs no cleanup, nor does
// the time limit of a test.
func RemoveAtEnd(t testing.TB) (name string) {
	t.Helper()
	name = "nearcache-" + strings.ToLower(rand.Text())
	cmd := exec.Command("sh", "-c", `cat; exec docker rm --force --volumes "$0" >/dev/null 2>&1`, name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C in the terminal is not for it
	pipe, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("a shell to remove containers: %v", err)
	}
	t.Cleanup(func() {
		pipe.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("container %s was not removed: %v", name, err)
		}
	})
	return name
}

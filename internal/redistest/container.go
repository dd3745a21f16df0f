package redistest

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
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
	ctx, cancel := context.WithTimeout(context.Background(), settling)
	defer cancel()
	name := RemoveAtEnd(t)
	if _, err := Docker(ctx, nil, "run", "--detach", "--name", name, "--publish", "127.0.0.1::6379",
		image, "--save", "", "--appendonly", "no", "--protected-mode", "no"); err != nil {
		return nil, err
	}
	addr, err := Docker(ctx, nil, "port", name, "6379/tcp")
	if err != nil {
		return nil, err
	}
	return &Server{addr: addr, real: true}, Answering(ctx, addr)
}

// Answering returns when the server at addr answers, or an error when ctx ends.
func Answering(ctx context.Context, addr string) error {
	c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1})
	defer c.Close()
	return until(ctx, func() error {
		conn, err := net.DialTimeout("tcp", addr, time.Second) // go-redis logs each dial that fails
		if err != nil {
			return err
		}
		conn.Close()
		return c.Ping(ctx).Err()
	})
}

// findImage returns an image that the engine has or can pull.
var findImage = sync.OnceValues(func() (string, error) {
	ctx := context.Background()
	if image := os.Getenv("NEARCACHE_REDIS_IMAGE"); image != "" {
		return image, HaveImage(ctx, image)
	}
	if _, err := Docker(ctx, nil, "image", "inspect", LocalImage); err == nil {
		return LocalImage, nil
	}
	return DefaultImage, HaveImage(ctx, DefaultImage)
})

// HaveImage makes sure that the engine has an image: it may pull it for a minute.
func HaveImage(ctx context.Context, image string) error {
	if _, err := Docker(ctx, nil, "image", "inspect", image); err == nil {
		return nil
	}
	_, err := Docker(ctx, nil, "pull", "--quiet", image)
	return err
}

// Docker runs the command line of the engine, for a minute at most, and returns
// what it printed.
func Docker(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdin, cmd.Stderr = stdin, &stderr
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

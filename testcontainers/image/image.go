// Package image builds minimal container images from the servers that are
// installed on this machine, for where no image can be pulled.
package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/nearcache/nearcache/internal/redistest"
)

// Build imports an image under name with the binary of the PATH, redis-server or
// valkey-server, and the shared libraries that it needs. The image takes
// arguments as the official ones do; with --sentinel the binary is a sentinel. An
// older image of that name is replaced.
func Build(ctx context.Context, name, binary string) error {
	files, err := closure(ctx, binary)
	if err != nil {
		return fmt.Errorf("building the image %s: %w", name, err)
	}
	archive, err := layer(files)
	if err == nil {
		_, err = redistest.Docker(ctx, archive, "import", "--change", `ENTRYPOINT ["/server"]`,
			"--change", "WORKDIR /data", "--change", "EXPOSE 6379", "-", name)
	}
	if err != nil {
		return fmt.Errorf("building the image %s: %w", name, err)
	}
	return nil
}

// closure returns the files of an image: where they go, and what they are here.
func closure(ctx context.Context, binary string) (map[string]string, error) {
	binary, err := exec.LookPath(binary)
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, "ldd", binary).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", binary, err)
	}
	files := map[string]string{"server": binary}
	// Lines are "libm.so.6 => /lib/libm.so.6 (0x7f)" or "/lib64/ld.so (0x7f)".
	for word := range strings.FieldsSeq(string(out)) {
		if filepath.IsAbs(word) {
			files[word[1:]] = word
		}
	}
	return files, nil
}

// layer writes the files as a tar archive, with an empty /data to work in.
func layer(files map[string]string) (io.Reader, error) {
	var buf bytes.Buffer
	archive := tar.NewWriter(&buf)
	errs := []error{archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "data/", Mode: 0o777})}
	for name, source := range files {
		content, err := os.ReadFile(source)
		errs = append(errs, err, archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}))
		_, err = archive.Write(content)
		errs = append(errs, err)
	}
	return &buf, errors.Join(append(errs, archive.Close())...)
}

package browser

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Scheme is what the user prefers, as the CSS media feature prefers-color-scheme has it.
type Scheme string

const (
	Light Scheme = "light"
	Dark  Scheme = "dark"
)

// Screenshot returns a PNG of what a tab shows in a window of width by height CSS pixels,
// one pixel of the picture each. It stays in the test's artifacts under name. The tab
// keeps the size and the scheme.
func Screenshot(t testing.TB, ctx context.Context, name string, width, height int64, scheme Scheme) []byte {
	t.Helper()
	media := emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: string(scheme)}},
	}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, media); err != nil {
		t.Fatalf("colour scheme %s: %v", scheme, err)
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, height)); err != nil {
		t.Fatalf("a window of %d by %d: %v", width, height, err)
	}
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatalf("screenshot: %v", err)
	}
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), name+".png"), picture, 0o600); err != nil {
		t.Fatal(err)
	}
	return picture
}

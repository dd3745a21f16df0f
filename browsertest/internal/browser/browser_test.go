package browser_test

import (
	"bytes"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/nearcache/nearcache/browsertest/internal/browser"
)

// TestScreenshot: a picture has the size and the colours that were asked for.
func TestScreenshot(t *testing.T) {
	ctx := browser.Open(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `<!doctype html><style>
			body { background: white }
			@media (prefers-color-scheme: dark) { body { background: black } }
		</style>`)
	}))
	t.Cleanup(s.Close)
	if err := chromedp.Do(ctx, chromedp.Navigate(s.URL)); err != nil {
		t.Fatal(err)
	}
	for scheme, want := range map[browser.Scheme]color.Gray{browser.Light: {Y: 255}, browser.Dark: {}} {
		picture, err := png.Decode(bytes.NewReader(browser.Screenshot(t, ctx, string(scheme), 390, 844, scheme)))
		if err != nil {
			t.Fatal(err)
		}
		if size := picture.Bounds().Size(); size.X != 390 || size.Y != 844 {
			t.Errorf("%s: %v", scheme, size)
		}
		if got := color.GrayModel.Convert(picture.At(200, 400)); got != want {
			t.Errorf("%s: %v", scheme, got)
		}
	}
}

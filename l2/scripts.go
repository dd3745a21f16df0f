package l2

import (
	"context"
	"embed"
	"strings"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/*.lua
var sources embed.FS

var (
	changeScript  = script("change")
	beatScript    = script("beat")
	fillScript    = script("fill")
	releaseScript = script("release")
	flagScript    = script("flag")
	dropScript    = script("drop")
	claimScript   = script("claim")
	touchScript   = script("touch")
	lifeScript    = script("life")
)

// script joins a script to the prelude that all of them share. EVALSHA sends
// only its hash, so the length costs nothing.
func script(name string) *redis.Script {
	return redis.NewScript(source("record") + source(name))
}

func source(name string) string {
	b, err := sources.ReadFile("scripts/" + name + ".lua")
	if err != nil {
		panic(err) // the file is embedded: it is there or nothing compiles
	}
	return string(b)
}

// eval runs a script on the shared pipelines. A server that does not know it,
// because it restarted or somebody flushed its scripts, is sent the source.
func (s *Store) eval(ctx context.Context, script *redis.Script, keys []string, args ...any) (*redis.Cmd, error) {
	p := s.client.Pipeline() // makes the commands; do runs them
	cmd := p.EvalSha(ctx, script.Hash(), keys, args...)
	err := s.do(ctx, keys[0], cmd)
	if err == nil && unknownScript(cmd.Err()) {
		cmd = script.Eval(ctx, p, keys, args...)
		err = s.do(ctx, keys[0], cmd)
	}
	if err != nil {
		return nil, err
	}
	return cmd, cmd.Err()
}

func unknownScript(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT")
}

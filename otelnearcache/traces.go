package otelnearcache

import (
	"context"

	"github.com/nearcache/nearcache"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

const (
	maxKeys   = 100 // that a span tells
	maxCauses = 8   // that the span of a failed read of many keys tells
)

// spanKey is by which a context knows the span of this observer: the innermost span at
// the end of an operation may be that of other hooks.
type spanKey struct{ o *Observer }

func (o *Observer) start(ctx context.Context, op *nearcache.Operation) context.Context {
	attrs := []attribute.KeyValue{attribute.String("nearcache.cache", o.name), attribute.Int("nearcache.keys.count", op.N)}
	if o.keys && len(op.Keys) > 0 {
		attrs = append(attrs, attribute.StringSlice("nearcache.keys", op.Keys[:min(len(op.Keys), maxKeys)]))
	}
	// Internal: what a cache does is its caller's own, and often no request at all.
	ctx, span := o.tracer.Start(ctx, "nearcache "+op.Kind, trace.WithAttributes(attrs...))
	return context.WithValue(ctx, spanKey{o}, span)
}

func (o *Observer) end(ctx context.Context, op *nearcache.Operation) {
	o.record(ctx, op)
	span, ok := ctx.Value(spanKey{o}).(trace.Span)
	if !ok {
		return
	}
	defer span.End()
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("nearcache.result", op.Result))
	if op.Kind == "get" || op.Kind == "get many" {
		span.SetAttributes(attribute.String("nearcache.source", source(op)))
	}
	switch op.Result {
	case "timeout", "canceled", "error":
		span.SetStatus(codes.Error, op.Result)
		for _, err := range o.causes(op) {
			span.RecordError(err)
		}
	}
}

// causes are the errors that a span tells. Those of a read of many keys name keys.
func (o *Observer) causes(op *nearcache.Operation) []error {
	many, ok := op.Err.(interface{ Unwrap() []error })
	if op.Kind != "get many" || !ok {
		return []error{op.Err}
	}
	errs := many.Unwrap()
	if len(errs) > maxCauses {
		errs = errs[:maxCauses]
	}
	causes := make([]error, 0, len(errs))
	for _, err := range errs {
		if cause, ok := err.(interface{ Unwrap() error }); ok && !o.keys {
			err = cause.Unwrap()
		}
		causes = append(causes, err)
	}
	return causes
}

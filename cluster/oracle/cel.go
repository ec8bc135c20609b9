package oracle

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"
)

// evaluated is what became of an expression: a value, or at which of the two steps it failed.
type evaluated struct {
	Value json.RawMessage `json:"value,omitempty"`
	// The name of the type of a value that JSON has no form for.
	Type  string `json:"type,omitempty"`
	Fault string `json:"fault,omitempty"`
}

// evaluate runs an expression with the libraries that a ValidatingAdmissionPolicy has, and `object` bound to the JSON that came along.
func evaluate(q *question, a *answer) error {
	env, err := environment.MustBaseEnvSet(version.MajorMinor(1, 35)).Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 0),
		EnvOptions:        []cel.EnvOption{cel.Variable("object", cel.DynType), cel.Variable("now", cel.TimestampType)},
	})
	if err != nil {
		return err
	}
	compiled, issues := env.NewExpressionsEnv().Compile(q.Expression)
	if issues.Err() != nil {
		a.CEL = &evaluated{Fault: "load"}
		return nil
	}
	program, err := env.NewExpressionsEnv().Program(compiled)
	if err != nil {
		a.CEL = &evaluated{Fault: "load"}
		return nil
	}
	var object any
	if len(q.JSON) > 0 {
		if object, err = plain(q.JSON); err != nil {
			return err
		}
	}
	now := time.Unix(q.Seed, 0).UTC()
	value, _, err := program.Eval(map[string]any{"object": object, "now": now})
	if err != nil {
		a.CEL = &evaluated{Fault: "run"}
		return nil
	}
	a.CEL = &evaluated{}
	found, named := native(value)
	if named != "" {
		a.CEL.Type = named
		return nil
	}
	a.CEL.Value, err = json.Marshal(found)
	return err
}

// plain reads JSON as the API server reads an object: whole numbers are integers.
func plain(text json.RawMessage) (any, error) {
	var object any
	if err := json.Unmarshal(text, &object); err != nil {
		return nil, err
	}
	return whole(object), nil
}

func whole(value any) any {
	switch value := value.(type) {
	case float64:
		if value == float64(int64(value)) {
			return int64(value)
		}
		return value
	case []any:
		for i := range value {
			value[i] = whole(value[i])
		}
		return value
	case map[string]any:
		for k := range value {
			value[k] = whole(value[k])
		}
		return value
	}
	return value
}

// native is the JSON form of a value, or the name of the type that has none.
func native(value ref.Val) (any, string) {
	switch value := value.(type) {
	case types.Bool, types.Int, types.Uint, types.Double, types.String:
		return value.Value(), ""
	case types.Null:
		return nil, ""
	case traits.Lister:
		list := []any{}
		for it := value.Iterator(); it.HasNext() == types.True; {
			item, named := native(it.Next())
			if named != "" {
				return nil, named
			}
			list = append(list, item)
		}
		return list, ""
	case traits.Mapper:
		object := map[string]any{}
		for it := value.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			item, named := native(value.Get(key))
			if named != "" {
				return nil, named
			}
			object[fmt.Sprint(key.Value())] = item
		}
		return object, ""
	}
	return nil, value.Type().TypeName()
}

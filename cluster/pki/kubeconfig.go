package pki

import "encoding/json"

// Kubeconfig writes a kubeconfig for one user of one server, everything inline. It is JSON, which is YAML.
func Kubeconfig(server string, ca []byte, user string, pair *Pair) ([]byte, error) {
	type object = map[string]any
	return json.MarshalIndent(object{
		"apiVersion":      "v1",
		"kind":            "Config",
		"clusters":        []object{{"name": "bed", "cluster": object{"server": server, "certificate-authority-data": ca}}},
		"users":           []object{{"name": user, "user": object{"client-certificate-data": pair.Cert, "client-key-data": pair.Key}}},
		"contexts":        []object{{"name": "bed", "context": object{"cluster": "bed", "user": user}}},
		"current-context": "bed",
	}, "", "  ")
}

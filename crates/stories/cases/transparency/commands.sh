# One command a line, run by bash (with `pipefail`) in a copy of `manifests/` of its own: against the bare API server and through the gateway,
# side by side, line by line. Exit code, stdout and stderr must agree; what may differ is listed in `differences.txt`.
#
# In the environment: `kubectl` on PATH; `KUBECONFIG`, whose namespace is `$NS`; `$NS`, which also begins the names of what is in no namespace;
# `$SERVER` and `$CA`, to come as somebody else. `NAMESPACE` in the manifests becomes `$NS`; in what is compared, `$NS` becomes `walk`.
# A line that ends in `#node` needs a node that runs pods. One that ends in `#alone` does not run beside its twin.
kubectl version
kubectl cluster-info
kubectl api-versions | grep -v -e gate.mantlet.dev -e example.com
kubectl api-resources | grep -v -e gate.mantlet.dev -e example.com
kubectl api-resources --namespaced=false -o name | grep -v -e gate.mantlet.dev -e example.com
kubectl api-resources --api-group=apps -o wide
kubectl explain pods
kubectl explain deployments.spec.strategy --recursive
kubectl explain cronjobs.spec --output=plaintext-openapiv2
kubectl explain nosuchthing
kubectl auth whoami
kubectl auth can-i create pods
kubectl auth can-i '*' '*' --all-namespaces
kubectl auth can-i --list | sort
kubectl auth can-i list pods --as=system:serviceaccount:$NS:default
kubectl --kubeconfig=/dev/null --server=$SERVER --certificate-authority=$CA --token=nonsense get pods 2>&1 | grep -o 'must be logged in'
kubectl get namespaces default kube-system
kubectl get namespace default -o yaml
kubectl get --raw /version
kubectl get --raw /healthz
kubectl get --raw /apis/apps/v1
kubectl get --raw "/api/v1/namespaces/$NS/configmaps?limit=1"
kubectl get --raw "/api/v1/namespaces/$NS/nosuch"
kubectl get --raw /nosuch
kubectl get pods
kubectl get all
kubectl get nosuchthing
kubectl create configmap one --from-literal=a=1 --from-literal=b=2
kubectl create configmap one --from-literal=a=1
kubectl create configmap two --from-file=web.yaml
kubectl create configmap dry --from-literal=a=1 --dry-run=server -o yaml
kubectl create configmap dry --from-literal=a=1 --dry-run=client -o json
kubectl get configmap dry
kubectl get configmap one -o json
kubectl get configmap one -o yaml --show-managed-fields
kubectl get configmap one -o name
kubectl get configmap one -o jsonpath='{.data.a}'
kubectl get configmap one -o go-template='{{range $k, $v := .data}}{{$k}}={{$v}} {{end}}'
kubectl get configmap one -o custom-columns=NAME:.metadata.name,A:.data.a
kubectl get configmaps one two -o wide
kubectl get configmaps --sort-by=.metadata.name
kubectl get configmaps --field-selector metadata.name=one
kubectl get configmaps --field-selector data=one
kubectl get configmaps --chunk-size=1
kubectl get configmaps --show-labels --no-headers
kubectl get configmaps -A --field-selector metadata.name=kube-root-ca.crt --no-headers | grep -e '^default ' -e '^kube-public '
kubectl describe configmap one
kubectl create secret generic hidden --from-literal=password=hunter2-hunter2
kubectl get secret hidden
kubectl get secrets --sort-by=.metadata.name -o name
kubectl describe secret hidden
kubectl get secret hidden -o yaml
kubectl get secret hidden -o jsonpath='{.data.password}' | base64 -d | tr -d '\n' | wc -l
kubectl annotate secret hidden note=seen
kubectl create serviceaccount robot
kubectl create token robot --duration=10m | cut -d. -f2 | tr '_-' '/+' | base64 -d 2>/dev/null | grep -o '"sub":"[^"]*"'
kubectl create role reader --verb=get,list --resource=pods,configmaps
kubectl create rolebinding reader --role=reader --serviceaccount=$NS:robot
kubectl describe role reader
kubectl create clusterrole $NS-walker --verb=get --resource=nodes
kubectl create clusterrolebinding $NS-walker --clusterrole=$NS-walker --user=nobody
kubectl delete clusterrolebinding $NS-walker
kubectl delete clusterrole $NS-walker
kubectl create quota small --hard=configmaps=50,secrets=20
kubectl get resourcequota small -o jsonpath='{.spec.hard.configmaps}'
kubectl create service clusterip plain --tcp=80:8080
# Without events: the controller that repairs cluster IPs says something about a fresh one now and then.
kubectl describe service plain --show-events=false
kubectl create ingress front --rule='example.com/*=plain:80'
kubectl create poddisruptionbudget calm --selector=app=web --min-available=0
kubectl create priorityclass $NS-low --value=10 --description=walk
kubectl delete priorityclass $NS-low
kubectl create namespace $NS-extra
kubectl delete namespace $NS-extra --wait=false
kubectl create deployment quick --image=mantlet.test/busybox:1 --replicas=0 -- sleep 1
kubectl apply -f cronjob.yaml
kubectl create job once --from=cronjob/nightly
kubectl apply -f web.yaml
kubectl apply -f config.yaml
kubectl apply -f config.yaml
kubectl diff -f config2.yaml | grep '^[-+]  '
kubectl apply -f config2.yaml
kubectl apply view-last-applied configmap/settings
kubectl apply --server-side -f config.yaml
kubectl apply --server-side --force-conflicts -f config.yaml
kubectl apply --server-side --field-manager=walk -f config2.yaml
kubectl apply --server-side --force-conflicts --field-manager=walk -f config2.yaml
kubectl apply --dry-run=server -f config.yaml
kubectl apply --prune -l app=web -f config.yaml --prune-allowlist=core/v1/ConfigMap
kubectl apply -f bad.yaml
kubectl apply -f missing-file.yaml
kubectl replace -f config.yaml
kubectl replace --force -f config.yaml
kubectl get configmap settings -o yaml | sed 's/blue/red/' | kubectl replace -f -
KUBE_EDITOR='sed -i s/red/black/' kubectl edit configmap settings
kubectl patch configmap settings -p '{"data":{"a":"strategic"}}'
kubectl patch configmap settings --type=merge -p '{"data":{"b":"merge"}}'
kubectl patch configmap settings --type=json -p '[{"op":"add","path":"/data/c","value":"json"}]'
kubectl patch configmap settings --type=json -p '[{"op":"remove","path":"/data/nosuch"}]'
kubectl patch configmap settings -p '{"data":{"a":1}}'
kubectl patch configmap nosuch -p '{"data":{"a":"1"}}'
kubectl get configmap settings -o jsonpath='{.data}'
kubectl label configmap settings walk=yes
kubectl label configmap settings walk=no
kubectl label configmap settings walk=no --overwrite
kubectl label configmap settings walk-
kubectl annotate configmap settings note='hello world'
kubectl annotate configmap settings note-
kubectl get configmap -l app=web -o name
exec 3< <(exec kubectl get configmap one -w -o jsonpath='{.data.a}{"\n"}'); read -r -t 30 a <&3; kubectl patch configmap one -p '{"data":{"a":"seen"}}'; read -r -t 30 b <&3; kill $!; echo "$a $b"
exec 3< <(exec kubectl get configmaps two -w); read -r -t 30 a <&3; read -r -t 30 b <&3; kill $!; echo "$a"; echo "$b"
exec 3< <(exec kubectl get configmaps --watch-only --output-watch-events -o name --field-selector metadata.name=late); until kubectl get configmap late -o name 2>/dev/null; do kubectl create configmap late --from-literal=a=1; done; until read -r -t 1 a <&3; do kubectl annotate configmap late at=$RANDOM --overwrite >/dev/null; done; kill $!; echo "$a" | grep -o configmap/late
kubectl wait --for=create configmap/late --timeout=30s
kubectl wait --for=jsonpath='{.data.a}'=2 configmap/late --timeout=1s
kubectl apply -f crd.yaml
kubectl wait --for=condition=Established crd/widgets.$NS.example.com --timeout=30s
for i in $(seq 100); do kubectl get widgets.$NS.example.com >/dev/null 2>&1 && break; done; kubectl apply -f widget.yaml
kubectl get widgets.$NS.example.com
kubectl get widget.$NS.example.com first -o yaml
kubectl get ${NS}w -o wide
kubectl get widgets.$NS.example.com --sort-by=.spec.size
kubectl scale widget.$NS.example.com first --replicas=5
kubectl patch widget.$NS.example.com first --type=merge -p '{"spec":{"note":"patched"}}'
kubectl patch widget.$NS.example.com first -p '{"spec":{"note":"strategic"}}'
kubectl patch widget.$NS.example.com first --type=merge -p '{"spec":{"nosuch":"field"}}'
for i in $(seq 100); do kubectl explain widgets.spec --api-version=$NS.example.com/v1 >/dev/null 2>&1 && break; done; kubectl explain widgets.spec --api-version=$NS.example.com/v1
kubectl delete widget.$NS.example.com first
kubectl delete -f crd.yaml
kubectl rollout status deployment/web --timeout=60s | tail -1 #node
kubectl get deployment web -o jsonpath='{.status.readyReplicas}' #node
kubectl get deployments --sort-by=.spec.replicas -o name
kubectl get deployments,services -l app=web #node
kubectl get pods -l app=web -o jsonpath='{.items[0].spec.containers[0].image}' #node
kubectl get pods -l app=web #node
kubectl logs deployment/web #node
kubectl logs -l app=web --tail=1 #node
kubectl logs deployment/web --timestamps | cut -d' ' -f2- #node
kubectl logs deployment/web -c nosuch #node
kubectl logs nosuchpod
kubectl exec deployment/web -- true #node
kubectl scale deployment web --replicas=2
kubectl scale deployment web --replicas=3 --current-replicas=7
kubectl rollout status deployment/web --timeout=60s | tail -1 #node
kubectl rollout restart deployment web #node
kubectl rollout status deployment/web --timeout=60s | tail -1 #node
kubectl rollout history deployment web #node
kubectl rollout undo deployment web #node
kubectl rollout undo deployment web --to-revision=99 #node
kubectl rollout pause deployment web
kubectl rollout resume deployment web
kubectl set image deployment/web web=mantlet.test/busybox:1
kubectl apply -f talker.yaml
kubectl set env deployment/web MODE=walk
kubectl set env deployment/web --list
kubectl set resources deployment web --limits=memory=64Mi
kubectl autoscale deployment web --min=1 --max=2 --cpu=80%
kubectl delete hpa web
kubectl expose deployment web --name=again --port=81
until kubectl logs -f talker >said 2>/dev/null; do [ $SECONDS -lt 60 ] || break; done; cat said #node
kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/talker --timeout=60s #node
kubectl events --for pod/talker -o jsonpath='{.items[*].reason}' | tr ' ' '\n' | sort -u #node
kubectl get events --field-selector involvedObject.name=talker,reason=Started -o jsonpath='{.items[0].message}' #node
kubectl get events -o name | sed -n 1p | cut -c1-6
kubectl wait --for=condition=Complete job/once --timeout=60s #node
kubectl get job once -o jsonpath='{.status.succeeded}' #node
kubectl get nodes -o name
kubectl taint nodes --all $NS=yes:PreferNoSchedule #node #alone
kubectl taint nodes --all $NS- #node #alone
kubectl cordon -l nosuch=label
kubectl top pods
kubectl certificate approve nosuch
kubectl delete configmap one two
kubectl delete configmap one
kubectl delete configmap one --ignore-not-found
kubectl delete pod talker --now
kubectl delete deployment web quick --cascade=foreground
kubectl delete configmaps --all --dry-run=server
kubectl delete configmaps -l app=web
kubectl delete secret hidden
kubectl delete service,ingress,pdb,job,cronjob --all
kubectl --request-timeout=20s get configmaps -o name

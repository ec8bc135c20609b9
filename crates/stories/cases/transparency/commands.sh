# One command a line, run by bash in `manifests/`, with `kubectl` on PATH and the namespace `walk` in the kubeconfig: first against the bare API
# server, then through the gateway. Exit code, stdout and stderr must agree; what may differ is listed in `differences.txt`.
# A line that ends in `#node` needs a node that runs pods.
kubectl version -o json | grep -c gitVersion
kubectl cluster-info | grep -c 'is running'
kubectl api-versions | grep -v gate.mantlet.dev
kubectl api-resources --no-headers | grep -v gate.mantlet.dev
kubectl api-resources --namespaced=false -o name | grep -v gate.mantlet.dev
kubectl explain pods
kubectl explain deployments.spec.strategy --recursive
kubectl explain nosuchthing
kubectl auth whoami
kubectl auth can-i create pods
kubectl auth can-i '*' '*' --all-namespaces
kubectl auth can-i --list | sort | head -5
kubectl get namespaces default kube-system
kubectl get namespace default -o yaml
kubectl get --raw /version | grep -c major
kubectl get --raw /healthz
kubectl get --raw '/api/v1/namespaces/walk/configmaps?limit=1' | head -c 40
kubectl get --raw /apis/apps/v1 | head -c 60
kubectl get --raw /api/v1/namespaces/walk/nosuch
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
kubectl get configmap one -o yaml
kubectl get configmap one -o name
kubectl get configmap one -o jsonpath='{.data.a}'
kubectl get configmap one -o go-template='{{range $k, $v := .data}}{{$k}}={{$v}} {{end}}'
kubectl get configmap one -o custom-columns=NAME:.metadata.name,A:.data.a
kubectl get configmaps one two -o wide
kubectl get configmaps --sort-by=.metadata.name
kubectl get configmaps --field-selector metadata.name=one
kubectl get configmaps --chunk-size=1
kubectl get configmaps --show-labels
kubectl describe configmap one
kubectl create secret generic hidden --from-literal=password=hunter2-hunter2
kubectl get secret hidden
kubectl describe secret hidden
kubectl get secret hidden -o yaml
kubectl create serviceaccount robot
kubectl create token robot --duration=10m | cut -d. -f1 | base64 -d 2>/dev/null | grep -o '"alg":"[A-Z0-9]*"'
kubectl create role reader --verb=get,list --resource=pods,configmaps
kubectl create rolebinding reader --role=reader --serviceaccount=walk:robot
kubectl describe role reader
kubectl auth can-i list pods --as=system:serviceaccount:walk:robot >/dev/null 2>&1; echo asked
kubectl create clusterrole walker --verb=get --resource=nodes
kubectl create clusterrolebinding walker --clusterrole=walker --user=nobody
kubectl delete clusterrolebinding walker
kubectl delete clusterrole walker
kubectl create quota small --hard=configmaps=50,secrets=20
kubectl get resourcequota small -o jsonpath='{.spec.hard.configmaps}'
kubectl create service clusterip plain --tcp=80:8080
kubectl create ingress front --rule='example.com/*=plain:80'
kubectl create poddisruptionbudget calm --selector=app=web --min-available=0
kubectl create priorityclass walk-low --value=10 --description=walk
kubectl delete priorityclass walk-low
kubectl create deployment quick --image=mantlet.test/busybox:1 --replicas=0 -- sleep 1
kubectl apply -f config.yaml
kubectl apply -f config.yaml
kubectl diff -f config2.yaml | grep '^[-+]  ' 
kubectl apply -f config2.yaml
kubectl apply view-last-applied configmap/settings
kubectl apply --server-side -f config.yaml
kubectl apply --server-side --force-conflicts -f config.yaml
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
kubectl patch configmap nosuch -p '{"data":{"a":"1"}}'
kubectl get configmap settings -o jsonpath='{.data}'
kubectl label configmap settings walk=yes
kubectl label configmap settings walk=no
kubectl label configmap settings walk=no --overwrite
kubectl label configmap settings walk-
kubectl annotate configmap settings note='hello world'
kubectl annotate configmap settings note-
kubectl get configmap -l app=web -o name
kubectl apply -f crd.yaml
kubectl wait --for=condition=Established crd/widgets.walk.example.com --timeout=30s
for i in $(seq 100); do kubectl get widgets >/dev/null 2>&1 && break; done; kubectl apply -f widget.yaml
kubectl get widgets
kubectl get widget first -o yaml
kubectl get wd -o wide
kubectl scale widget first --replicas=5
kubectl patch widget first --type=merge -p '{"spec":{"note":"patched"}}'
kubectl patch widget first -p '{"spec":{"note":"strategic"}}'
kubectl explain widgets.spec
kubectl delete widget first
kubectl delete -f crd.yaml
kubectl apply -f web.yaml
kubectl rollout status deployment/web --timeout=60s #node
kubectl get deployment web -o jsonpath='{.status.readyReplicas}' #node
kubectl get deployment,service -l app=web
kubectl describe service web
kubectl get pods -l app=web -o jsonpath='{.items[0].spec.containers[0].image}' #node
kubectl logs deployment/web #node
kubectl logs -l app=web --tail=1 #node
kubectl logs deployment/web --timestamps | cut -d' ' -f2- #node
kubectl logs nosuchpod
kubectl scale deployment web --replicas=2
kubectl rollout status deployment/web --timeout=60s #node
kubectl rollout restart deployment web
kubectl rollout status deployment/web --timeout=60s #node
kubectl rollout history deployment web
kubectl rollout undo deployment web
kubectl rollout pause deployment web
kubectl rollout resume deployment web
kubectl set image deployment/web web=mantlet.test/busybox:1
kubectl set env deployment/web MODE=walk
kubectl set env deployment/web --list
kubectl set resources deployment web --limits=memory=64Mi
kubectl autoscale deployment web --min=1 --max=2 --cpu=80%
kubectl delete hpa web
kubectl expose deployment web --name=again --port=81
kubectl apply -f talker.yaml
kubectl logs -f pod/talker --pod-running-timeout=30s >/dev/null 2>&1; kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/talker --timeout=60s #node
kubectl logs -f talker #node
kubectl get pod talker -o jsonpath='{.status.phase}' #node
kubectl events --for pod/talker -o jsonpath='{.items[*].reason}' | tr ' ' '\n' | sort -u #node
kubectl get events -o name | head -1 | cut -c1-6
kubectl apply -f cronjob.yaml
kubectl create job once --from=cronjob/nightly
kubectl wait --for=condition=Complete job/once --timeout=60s #node
(timeout 2 kubectl get configmaps --watch-only -o name; true) & sleep 0.7; kubectl create configmap seen --from-literal=a=1; wait
(timeout 2 kubectl get configmap one -w; true)
(timeout 2 kubectl get configmaps one -w -o json | head -c 60; true)
kubectl taint nodes --all walk=yes:PreferNoSchedule #node
kubectl taint nodes --all walk- #node
kubectl cordon -l nosuch=label
kubectl top pods
kubectl certificate approve nosuch
kubectl create namespace walk-extra
kubectl delete namespace walk-extra --wait=true
kubectl delete configmap one two
kubectl delete configmap one
kubectl delete configmap one --ignore-not-found
kubectl delete pod talker --now
kubectl delete deployment web quick --cascade=foreground
kubectl delete configmaps --all --dry-run=server
kubectl delete configmaps -l app=web
kubectl delete secret hidden
kubectl delete service,ingress,pdb,cronjob,job --all
kubectl --request-timeout=20s get configmaps -o name
kubectl get configmaps -A -o name | wc -l | grep -c .
kubectl --token=nonsense get pods 2>&1 | grep -c 'must be logged in'

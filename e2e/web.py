"""A real nginx on loopback, as a user might run one: plain, TLS by a CA of its own, passwords, index pages of both kinds."""

import os
import shutil
import subprocess

from harness import free_port, wait_for

CONF = """
daemon off;
worker_processes 1;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 512; }}
http {{
    access_log {folder}/access.log;
    default_type application/octet-stream;
    client_body_temp_path {folder}/tmp; proxy_temp_path {folder}/tmp; fastcgi_temp_path {folder}/tmp;
    uwsgi_temp_path {folder}/tmp; scgi_temp_path {folder}/tmp;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/www;
        location /json/ {{ alias {folder}/www/; autoindex on; autoindex_format json; }}
        location /html/ {{ alias {folder}/www/; autoindex on; }}
        location /norange/ {{ alias {folder}/www/; autoindex on; max_ranges 0; }}
        location /undated/ {{ alias {folder}/www/; autoindex on; autoindex_format json; etag off; add_header Last-Modified ""; }}
        location /noetag/ {{ alias {folder}/www/; autoindex on; etag off; }}
        location /private/ {{ alias {folder}/www/; autoindex on; auth_basic "x"; auth_basic_user_file {folder}/users; }}
        location /bearer/ {{ alias {folder}/www/; autoindex on; if ($http_authorization != "Bearer t0ken") {{ return 401; }} }}
        location /moved/ {{ rewrite ^/moved/(.*)$ /html/$1 permanent; }}
        location /away/ {{ auth_basic "x"; auth_basic_user_file {folder}/users;
                           rewrite ^/away/(.*)$ http://localhost:{port}/checked/$1 redirect; }}
        location /checked/ {{ alias {folder}/www/; autoindex on; if ($http_authorization) {{ return 418; }} }}
        location /circle/ {{ rewrite ^ /circle/x redirect; }}
        location /busy/ {{ return 503; }}
    }}
    log_format hosts '$http_host $request_uri';
    server {{
        listen 127.0.0.1:{proxy_port};
        access_log {folder}/proxy.log;
        access_log {folder}/hosts.log hosts;
        client_max_body_size 1g;
        location / {{ proxy_pass http://127.0.0.1:{behind}; proxy_set_header Host $http_host; }}
    }}
    server {{
        listen 127.0.0.1:{tls_port} ssl;
        ssl_certificate {folder}/server.pem;
        ssl_certificate_key {folder}/server.key;
        root {folder}/www;
        location / {{ autoindex on; autoindex_format json; }}
        location /bucket {{ proxy_pass http://127.0.0.1:{behind}; proxy_set_header Host $http_host; }}
        location /down/ {{ rewrite ^/down/(.*)$ http://127.0.0.1:{port}/html/$1 redirect; }}
    }}
}}
"""


def nginx():
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def make_certificates(folder):
    openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
            "-subj", "/CN=test CA")
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=test")
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl(folder, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "ext", "-out", "server.pem")


class Web:
    """behind: the port of a store that it also stands before, with TLS and as a proxy."""

    def __init__(self, folder, behind=1):
        self.folder = folder
        self.www = folder / "www"
        self.www.mkdir(parents=True)
        (folder / "tmp").mkdir()
        folder.chmod(0o755)
        self.port, self.tls_port, self.proxy_port = free_port(), free_port(), free_port()
        make_certificates(folder)
        hashed = subprocess.run(["openssl", "passwd", "-apr1", "s3cr:et"], check=True, capture_output=True, text=True).stdout
        (folder / "users").write_text(f"reader:{hashed}")
        (folder / "nginx.conf").write_text(CONF.format(folder=folder, port=self.port, tls_port=self.tls_port,
                                                               proxy_port=self.proxy_port, behind=behind))
        # With an /etc/nginx of modules the package's own configuration is not read: -c names ours alone.
        self.process = subprocess.Popen([nginx(), "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"],
                                        stdin=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{self.port}"
        self.tls = f"https://127.0.0.1:{self.tls_port}"

        def answers():
            assert self.process.poll() is None, (folder / "error.log").read_text()
            return subprocess.run(["curl", "-s", "--noproxy", "*", "-o", os.devnull, self.url], check=False).returncode == 0
        wait_for("nginx", answers)

    def requests(self):
        return (self.folder / "access.log").read_text().splitlines()

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


def web_dataset(url, index="", extra="", name="data"):
    index = f", index: {index}" if index else ""
    return f"""apiVersion: larder.dev/v1alpha1
kind: Dataset
metadata: {{name: {name}}}
spec:
  sources:
    - mountPath: /
      http: {{url: "{url}"{index}}}
{extra}"""

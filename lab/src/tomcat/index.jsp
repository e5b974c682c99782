<%@ page language="java" %>
<% session.setAttribute("Blog", "MeXP"); %>
<html>
<head><title>Tomcat@LETTER@</title></head>
<body>
<h1><font color="@COLOUR@">Tomcat@LETTER@.magedu.com</font></h1>
<table align="centre" border="1">
<tr>
<td>Session ID</td>
<td><%= session.getId() %></td>
</tr>
<tr>
<td>Created on</td>
<td><%= session.getCreationTime() %></td>
</tr>
</table>
URL: <%= request.getRequestURL() %>
URI: <%= request.getRequestURI() %>
</body>
</html>
